# SPDX-License-Identifier: MIT
"""The log viewer: `sysmonlx-logview`, and `python -m sysmonlx.viewer`."""

from sysmonlx import interruption

interruption.ends_quietly()

from sysmonlx.viewer.main import main as run  # noqa: E402 - that comes first


def main() -> int:
    """Run the program; return its exit status."""
    return interruption.caught_in(run)


if __name__ == "__main__":
    raise SystemExit(main())
