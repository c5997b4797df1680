# SPDX-License-Identifier: MIT
"""Rules of Sigma: `sysmonlx-sigma`, and `python -m sysmonlx.sigma_tool`."""

from sysmonlx import interruption

interruption.ends_quietly()

from sysmonlx.sigma_tool.main import main as run  # noqa: E402 - that comes first


def main() -> int:
    """Run the program; return its exit status."""
    return interruption.caught_in(run)


if __name__ == "__main__":
    raise SystemExit(main())
