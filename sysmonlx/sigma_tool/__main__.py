# SPDX-License-Identifier: MIT
"""`python -m sysmonlx.sigma_tool` is `sysmonlx-sigma`."""

import sys

from sysmonlx.sigma_tool.main import main

sys.exit(main())
