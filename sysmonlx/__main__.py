# SPDX-License-Identifier: MIT
"""`python -m sysmonlx`."""

import sys

from sysmonlx.cli.main import main

sys.exit(main())
