# SPDX-License-Identifier: MIT
"""What is it called? Records of the kernel to events of Sysmon."""
