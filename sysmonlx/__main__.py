# SPDX-License-Identifier: MIT
"""The program: `sysmonlx`, and `python -m sysmonlx`."""

from sysmonlx import interruption

interruption.ends_quietly()

from sysmonlx.cli.main import main as run  # noqa: E402 - that comes first


def main() -> int:
    """Run the program; return its exit status."""
    return interruption.caught_in(run)


if __name__ == "__main__":
    raise SystemExit(main())
