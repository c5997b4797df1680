# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmonlx import control
from sysmonlx.control import ControlServer
from sysmonlx.errors import ControlError, SysmonlxError


def answer(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("do") == "refuse":
        raise SysmonlxError("not today")
    return {"echo": message["text"] * message.get("times", 1)}


class Served:
    """A server whose connections a thread answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = ControlServer(path, answer)
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            self.server.serve()
            time.sleep(0.002)

    def end(self) -> None:
        self._stop = True
        self._thread.join()
        self.server.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "control.sock")
    yield made
    made.end()


def test_request_gets_its_answer(served: Served) -> None:
    assert control.request(served.path, {"text": "hé"}) == {"echo": "hé"}
    assert control.is_running(served.path)


def test_answer_may_be_long(served: Served) -> None:
    assert len(
        control.request(served.path, {"text": "x", "times": 3 << 20})["echo"]
    ) == (3 << 20)


def test_refusal_is_an_error_with_its_reason(served: Served) -> None:
    with pytest.raises(ControlError, match=r"^not today$"):
        control.request(served.path, {"do": "refuse"})


def test_request_without_what_it_needs_is_refused(served: Served) -> None:
    for message in ({}, {"text": "x", "times": []}):
        with pytest.raises(ControlError, match="malformed"):
            control.request(served.path, message)
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    assert not control.is_running(path)
    with pytest.raises(ControlError, match="cannot be reached: No such file"):
        control.request(path, {})


def test_socket_is_for_its_owner_and_goes_with_the_server(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    served.server.close()
    assert not served.path.exists()


def test_socket_that_the_dead_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    assert not control.is_running(path)
    served = Served(path)
    assert control.request(path, {"text": "new"}) == {"echo": "new"}
    served.end()


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"[]\n", b"nonsense\n", b"[" * 50_000 + b"\n", b"\xff\n"]
)
def test_peer_that_talks_nonsense_gets_no_answer(served: Served, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(5)
        peer.connect(os.fspath(served.path))
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b""
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}


def test_slow_peer_holds_the_server_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PEER_TIMEOUT_S", 0.05)
    server = ControlServer(tmp_path / "control.sock", answer)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.fspath(tmp_path / "control.sock"))
        drip = threading.Thread(target=drop_by_drop, args=(peer,))
        drip.start()
        started = time.monotonic()
        server.serve()
        assert time.monotonic() - started < 1
        drip.join()
    server.close()


def drop_by_drop(peer: socket.socket) -> None:
    for _ in range(100):
        try:
            peer.send(b"{")
        except OSError:
            return
        time.sleep(0.01)


def test_path_that_is_too_long_is_an_error_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ControlError, match="too long"):
        ControlServer(path, answer)
