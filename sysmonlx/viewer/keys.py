# SPDX-License-Identifier: MIT
"""Keys of a terminal: from the bytes that they send to their names."""

from __future__ import annotations

import re

#: What keys send behind ESC; ECMA-48 and xterm's "Application Cursor Keys".
_SEQUENCES = {
    **{"[A": "up", "[B": "down", "[5~": "page up", "[6~": "page down"},
    **{"[H": "home", "[F": "end", "[1~": "home", "[4~": "end", "[7~": "home"},
    **{"[8~": "end", "OA": "up", "OB": "down", "OH": "home", "OF": "end"},
}
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O[A-Za-z])")
_NAMES = {
    **{"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"},
    **{"\x1b": "escape", "\x15": "clear line", "\x17": "clear word", "\x0c": "redraw"},
    **{"\x03": "interrupt", "\x04": "interrupt"},
}


def keys_of(data: bytes) -> list[str]:
    """Return the names of the keys that sent some bytes; of a letter, that letter.

    Sequences of keys that have no name are left out, and so are other controls.
    """
    text, found, at = data.decode("utf-8", "ignore"), [], 0
    while at < len(text):
        sequence = _SEQUENCE.match(text, at)
        if sequence:
            at = sequence.end()
            name = _SEQUENCES.get(sequence[1])
        else:
            name = _NAMES.get(text[at])
            if name is None and text[at].isprintable():
                name = text[at]
            at += 1
        if name:
            found.append(name)
    return found
