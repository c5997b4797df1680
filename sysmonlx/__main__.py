# SPDX-License-Identifier: MIT
"""`python -m sysmonlx`."""

import sys

from sysmonlx.cli import main

sys.exit(main())
