# SPDX-License-Identifier: MIT
"""How do these meet? A record in, a line out; and the books."""
