# SPDX-License-Identifier: MIT
"""`sysmonlx -selftest`: one event of each type is made, read back and compared."""
