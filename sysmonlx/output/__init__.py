# SPDX-License-Identifier: MIT
"""Events become lines here, and the sinks write them."""
