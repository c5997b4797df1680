# SPDX-License-Identifier: MIT
"""Requests of io_uring that ask for no completion entry, and how it is seen they ended.

Mostly the thread that has begun a request comes back to the kernel, and a hook there
looks. A ring can be made for which it never has to: then a look each second finds out.
"""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.errors import LibbpfError


class QuietRequests:
    """Has the kernel look at requests that are under way.

    Args:
        variable: Returns a variable of the programs in the kernel.
        sweep: Runs the iterator that looks, see ebpf/hooks/quiet_requests.bpf.c.
    """

    def __init__(
        self, variable: Callable[[str], int], sweep: Callable[[], object]
    ) -> None:
        self._variable = variable
        self._sweep = sweep
        self._begun = 0

    @property
    def unproven(self) -> int:
        """Requests of which nothing tells whether they have succeeded."""
        return self._variable("requests_unproven")

    def losses(self) -> dict[tuple[str, str], int]:
        """Return how many results are not known since the start, by what and why."""
        return {("Results of io_uring requests", "not proved"): self.unproven}

    def look(self) -> None:
        """Look where there was a request since the last look, or one was under way."""
        begun = self._variable("quiet_requests_begun")
        if begun == self._begun and not self._variable("quiet_requests_left"):
            return
        try:
            self._sweep()
        except (LibbpfError, OSError, KeyError):  # not now, or no event wants it
            return
        self._begun = begun
