# SPDX-License-Identifier: MIT
"""Events become lines here, and the sinks write them.

`dispatch` collects events, `render` and `ecs` make lines, `escape` makes values safe.
"""
