# SPDX-License-Identifier: MIT
"""The live view on the terminal, for `-t` and for `-i` with `-d`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sysmonlx.bpf import libbpf
from sysmonlx.service.foreground import View
from sysmonlx.viewer.terminal import TerminalView


class _DebugView(TerminalView):
    """Shows all fields of an event, a line a field, as Sysmon's debug mode does."""

    def show(self, event_id: int, values: Sequence[str]) -> None:
        """Print one event as its name and a line a field."""
        self.show_all(event_id, values)


def live_view(*, is_verbose: bool) -> View:
    """Return a view on standard output, coloured where that is a terminal.

    `is_verbose` shows every field, and prints what libbpf has to say.
    """
    kind = _DebugView if is_verbose else TerminalView
    if is_verbose:
        libbpf.set_verbose(lambda text: print(text, end="", file=sys.stderr))
    return kind(sys.stdout, sys.stdout.isatty())
