# SPDX-License-Identifier: MIT
"""Rules, compiled twice: to functions for the daemon, to bits for the kernel.

`compiler` does the first, `kernel.compiler` the second; `sigma` has rules of Sigma.
"""
