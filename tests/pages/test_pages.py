# SPDX-License-Identifier: MIT
"""The page of `sysmonlx-logview --html` in a browser: `make test-pages`.

Pictures are left in build/pages, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chromium import PROGRAM, Browser, browser
from support.incident import HOSTILE_NAMES, hostile_lines, incident_lines, many_lines
from support.logview import logview, syslog

PICTURES = Path(__file__).resolve().parents[2] / "build/pages"
ROWS = (
    "[...document.querySelectorAll('.row')].filter(row => row.style.display !== 'none')"
)

if PROGRAM is None and "pages" not in os.environ.get("SYSMONLX_REQUIRE", ""):
    pytest.skip("there is no chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser() as found:
        found.window(1280, 800, dark=False)
        yield found


def page_of(tmp_path: Path, data: bytes, *arguments: str) -> Path:
    path = tmp_path / "page.html"
    found = logview("--html", str(path), *arguments, data=data)
    assert (found.status, found.err) == (0, "")
    return path


def texts(chromium: Browser) -> list[str]:
    found = chromium.ask(f"{ROWS}.map(row => row.innerText)")
    assert isinstance(found, list)
    return found


def filtered(chromium: Browser, words: str) -> list[str]:
    """Return the rows after words were typed into an empty filter."""
    chromium.ask("document.getElementById('filter').value = ''")
    chromium.ask("document.getElementById('filter').focus()")
    chromium.type(words)
    chromium.ask("new Promise(done => setTimeout(done, 150))")
    chromium.painted()
    return texts(chromium)


def test_incident_is_read_off_the_page(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines()), "--title", "Case 7"))
    for scheme in ("light", "dark"):
        chromium.window(1280, 800, dark=scheme == "dark")
        chromium.picture(PICTURES / f"incident-{scheme}.png")
    rows = texts(chromium)
    assert any("curl" in row and "T1105" in row for row in rows)
    chromium.ask("document.getElementById('list').focus()")
    for _ in range(3):
        chromium.press("ArrowDown")
    chromium.picture(PICTURES / "incident-details.png")
    assert "CommandLine" in chromium.ask("document.getElementById('details').innerText")
    chromium.window(640, 800, dark=False)
    chromium.picture(PICTURES / "incident-narrow.png")
    chromium.window(400, 800, dark=True)
    chromium.picture(PICTURES / "incident-phone.png")
    chromium.window(1280, 800, dark=False)
    assert chromium.told == []


def test_hits_are_found_whatever_hides_them(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines())))
    chips = "[...document.querySelectorAll('#found button')].map(b => b.innerText)"
    assert chromium.ask(chips) == [
        *("T1105 Ingress Tool Transfer", "Downloaded file run as root"),
        "T1053.003 Cron",
    ]
    chosen = "document.querySelector('.row.chosen').innerText"
    assert "curl" in chromium.ask(chosen)  # the first hit, from the start
    assert filtered(chromium, "no-such-text") == []
    chromium.ask("document.querySelectorAll('#found button')[2].click()")
    assert "/etc/cron.d/x" in chromium.ask(chosen)
    assert len(texts(chromium)) > 5
    chromium.ask("document.getElementById('list').focus()")
    chromium.press("n")
    assert "curl" in chromium.ask(chosen)
    chromium.press("N")
    assert "/etc/cron.d/x" in chromium.ask(chosen)
    assert chromium.told == []


def test_filter_folds_and_rows(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines())))
    before = texts(chromium)
    assert len(filtered(chromium, "TargetFilename~cron")) < len(before)
    chromium.picture(PICTURES / "filter.png")
    assert any("cron" in row for row in texts(chromium))
    assert filtered(chromium, "no-such-text") == []
    chromium.picture(PICTURES / "nothing.png")
    chromium.press("Escape")
    chromium.ask("document.getElementById('rows').click()")
    assert len(texts(chromium)) > 5
    chromium.picture(PICTURES / "rows.png")
    chromium.ask("document.getElementById('tagged').click()")
    assert all("T1" in row or "root" in row for row in texts(chromium))
    chromium.ask("document.getElementById('tree').click()")
    chromium.ask("document.getElementById('tagged').click()")
    chromium.ask("document.getElementById('list').focus()")
    chromium.press("ArrowDown")
    chromium.press("ArrowLeft")
    assert len(texts(chromium)) < len(before)
    chromium.press("ArrowRight")
    assert texts(chromium) == before


def test_dragging_takes_a_range_of_time(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines())))
    x, y, width = chromium.ask(
        "(r => [r.left, r.top + 20, r.width])"
        "(document.getElementById('chart').getBoundingClientRect())"
    )
    chromium.mouse("mousePressed", x + 1, y)
    chromium.mouse("mouseMoved", x + width / 3, y)
    chromium.mouse("mouseReleased", x + width / 3, y)
    shown = chromium.ask("document.getElementById('shown').textContent")
    first, last = shown.replace(" shown", "").split(" of ")
    assert 0 < int(first) < int(last)
    chromium.picture(PICTURES / "range.png")


def test_50000_events_open_in_two_seconds(chromium: Browser, tmp_path: Path) -> None:
    path = page_of(tmp_path, syslog(*many_lines(50_000)))
    opened_s = chromium.open(path)
    print(f"\n{path.stat().st_size / 1e6:.1f} MB, ready after {opened_s:.2f} s")
    chromium.picture(PICTURES / "many.png")
    assert len(texts(chromium)) > 20
    took_ms = chromium.ask(
        "(() => { const at = performance.now();"
        " document.getElementById('tree').click(); return performance.now() - at })()"
    )
    print(f"all rows made anew in {took_ms:.0f} ms")
    assert opened_s < 2
    assert chromium.told == []


@pytest.mark.parametrize("count", [0, 1])
def test_page_of_hardly_anything(chromium: Browser, tmp_path: Path, count: int) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines()[:count])))
    assert len(texts(chromium)) == 2 * count
    assert chromium.told == []


def test_hostile_names_run_nothing(chromium: Browser, tmp_path: Path) -> None:
    chromium.requests.clear()
    path = page_of(tmp_path, syslog(*hostile_lines()), "--title", HOSTILE_NAMES[0])
    chromium.open(path)
    for view in ("rows", "tree"):
        chromium.ask(f"document.getElementById('{view}').click()")
        chromium.ask("document.getElementById('list').focus()")
        for _ in range(12):
            chromium.press("ArrowDown")
    chromium.picture(PICTURES / "hostile.png")
    assert chromium.ask("window.hurt") is None
    assert chromium.ask("document.querySelectorAll('img,iframe,a,svg').length") == 0
    assert chromium.ask("document.scripts.length") == 2
    assert chromium.requests == [path.as_uri()]
    assert chromium.told == []


def test_policy_refuses_what_would_be_injected(
    chromium: Browser, tmp_path: Path
) -> None:
    chromium.open(page_of(tmp_path, syslog(*incident_lines())))
    chromium.ask(
        "document.body.insertAdjacentHTML('beforeend',"
        ' \'<img src=x onerror="window.hurt=1"><b style="color:red">\')'
    )
    chromium.ask(
        "(() => { const s = document.createElement('script');"
        " s.textContent = 'window.hurt=1'; document.body.append(s) })()"
    )
    chromium.ask("new Promise(done => setTimeout(done, 100))")
    assert chromium.ask("window.hurt") is None
    assert len(chromium.told) >= 3
    chromium.told.clear()
