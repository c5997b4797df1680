# SPDX-License-Identifier: MIT
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sysmonlx.schema import event_manual
from sysmonlx.schema.events import EVENTS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "man" / event_manual.NAME

SOURCE = """\
<!-- a comment -->
# Title

Text with `code\\n`, **bold** and [a link](x.md). 'quoted' first.

## 1: One

| field | type | where |
| --- | --- | --- |
| A | text | `x` \\| y |

* an item
  of two lines
* .dot

```xml
.TH is \\no macro
```
"""


def test_of_markdown_becomes_mdoc() -> None:
    text = event_manual.of_page(SOURCE, ".Dd $Mdocdate: November 29 2026 $\n")
    assert ".Dd $Mdocdate: November 29 2026 $\n.Dt SYSMONLX-EVENTS 7\n" in text
    assert "Text with \\fBcode\\en\\fR, \\fBbold\\fR and a link.\n" in text
    assert "\\&'quoted' first.\n.Sh 1: One\n" in text
    assert ".It A (text)\n\\fBx\\fR | y\n.El\n" in text
    assert ".Bl -bullet\n.It\nan item of two lines\n.It\n\\&.dot\n.El\n" in text
    assert "\\&.TH is \\eno macro\n.Ed\n" in text
    assert "comment" not in text


def test_page_has_every_event_and_field() -> None:
    text = PAGE.read_text()
    for event in EVENTS:
        if event.produced:
            _, _, rest = text.partition(f"\n.Sh {event.id}: ")
            section = rest.partition("\n.Sh ")[0]
            for field in event.fields:
                assert f"\n.It {field.name} (" in section, (event.id, field.name)


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
def test_page_has_no_warning() -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning", str(PAGE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
