# SPDX-License-Identifier: MIT
"""Write what is generated from the schema: `python -m sysmonlx.schema generate`."""

from __future__ import annotations

import sys
from pathlib import Path

from sysmonlx.schema import completion, event_manual, xsd
from sysmonlx.schema.event_page import with_frame
from sysmonlx.schema.manual import with_tables


def generated_files(root: Path) -> dict[Path, str]:
    """Return the files of a checkout that are generated, and their contents."""
    page, events = root / "man" / "sysmonlx.5", root / "docs" / "events.md"
    data = root / "sysmonlx" / "data"
    framed, manual = with_frame(events.read_text("utf-8")), page.read_text("utf-8")
    return {
        data / completion.BASH: completion.bash(),
        data / completion.ZSH: completion.zsh(),
        root / "config_schema" / xsd.MAIN: xsd.main_schema(),
        root / "config_schema" / xsd.OWN: xsd.own_schema(),
        page: with_tables(manual),
        events: framed,
        root / "man" / event_manual.NAME: event_manual.of_page(framed, manual),
    }


def main(arguments: list[str]) -> None:
    """Write the generated files of this checkout."""
    if arguments != ["generate"]:
        sys.exit("usage: python -m sysmonlx.schema generate")
    for path, text in generated_files(Path(__file__).resolve().parents[2]).items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
