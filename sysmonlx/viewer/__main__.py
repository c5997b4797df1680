# SPDX-License-Identifier: MIT
"""`python -m sysmonlx.viewer`: the log viewer."""

import sys

from sysmonlx.viewer.main import main

sys.exit(main())
