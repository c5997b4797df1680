# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.errors import ControlError, NoAnswerError, SysmonlxError
from sysmonlx.service import control
from sysmonlx.service.control import ControlServer, Later


def answer(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("do") == "refuse":
        raise SysmonlxError("not today")
    return {"echo": message["text"] * message.get("times", 1)}


DEADLINE_S = 60.0


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
            self.server.expire()
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


class Deferring:
    """A server that is told later what to answer, by whoever goes round with it."""

    def __init__(self, path: Path) -> None:
        self.later: list[Later] = []
        self.server = ControlServer(path, self._answer)

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any] | Later:
        if message.get("do") != "wait":
            return {"now": True}
        self.later.append(Later())
        return self.later[-1]


@pytest.fixture
def deferring(tmp_path: Path) -> Iterator[Deferring]:
    made = Deferring(tmp_path / "control.sock")
    yield made
    made.server.close()


def asking(served: Deferring, message: dict[str, Any]) -> socket.socket:
    """Return a connection whose request was served."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.connect(os.fspath(served.server._path))
    peer.sendall(json.dumps(message).encode() + b"\n")
    served.server.serve()
    served.server.serve()
    return peer


def test_answer_that_comes_later_keeps_nobody_waiting(
    deferring: Deferring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PEER_TIMEOUT_S", 0.0)
    with asking(deferring, {"do": "wait"}) as peer:
        for _ in range(2):
            deferring.server.expire()
            with asking(deferring, {}) as other:
                assert other.recv(99) == b'{"ok": true, "now": true}\n'
        deferring.later[0].settle(lambda: {"then": 1})
        assert peer.recv(99) == b'{"ok": true, "then": 1}\n'
        assert peer.recv(99) == b""


def test_failure_that_comes_later_is_told(deferring: Deferring) -> None:
    def fail() -> dict[str, Any]:
        raise SysmonlxError("not today")

    with asking(deferring, {"do": "wait"}) as peer:
        deferring.later[0].settle(fail)
        assert peer.recv(99) == b'{"ok": false, "error": "not today"}\n'


def test_peer_that_hung_up_costs_nothing_and_what_it_asked_is_done(
    deferring: Deferring,
) -> None:
    asking(deferring, {"do": "wait"}).close()
    assert not select.select([deferring.server], [], [], 0)[0]
    done = []

    def make() -> dict[str, Any]:
        done.append(1)
        return {}

    deferring.later[0].settle(make)
    assert done == [1]
    assert not select.select([deferring.server], [], [], 0)[0]


def test_peer_that_waits_is_not_dropped_for_others(deferring: Deferring) -> None:
    with asking(deferring, {"do": "wait"}) as peer, ExitStack() as others:
        for _ in range(control._PEERS_LIMIT + 3):
            other = others.enter_context(socket.socket(socket.AF_UNIX))
            other.connect(os.fspath(deferring.server._path))
            deferring.server.serve()
        deferring.later[0].settle(dict)
        assert peer.recv(99) == b'{"ok": true}\n'


def test_answer_may_be_long(served: Served) -> None:
    answer = control.request(served.path, {"text": "x", "times": 3 << 20})
    assert len(str(answer["echo"])) == 3 << 20


def test_refusal_is_an_error_with_its_reason(served: Served) -> None:
    with pytest.raises(ControlError, match=r"^not today$"):
        control.request(served.path, {"do": "refuse"})


def test_failure_of_the_server_is_not_blamed_on_the_request(served: Served) -> None:
    for message in ({}, {"text": "x", "times": []}):
        with pytest.raises(ControlError, match=r"^The daemon failed: (Key|Type)Error"):
            control.request(served.path, message)
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    assert not control.is_running(path)
    with pytest.raises(ControlError, match="cannot be reached: No such file"):
        control.request(path, {})


@pytest.mark.parametrize("taken_bytes", [1, 100])
@pytest.mark.parametrize("answered", [b"", b'{"ok": tr'])
def test_daemon_that_ends_before_it_answers_may_have_done_what_was_asked(
    tmp_path: Path, taken_bytes: int, answered: bytes
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def end_early() -> None:
            peer, _ = listener.accept()
            with peer:  # what was not read resets the connection
                peer.recv(taken_bytes)
                peer.sendall(answered)

        thread = threading.Thread(target=end_early)
        thread.start()
        with pytest.raises(NoAnswerError, match=r"^The daemon ended before it answ"):
            control.request(path, {"do": "reload"})
        thread.join()


def test_daemon_that_does_not_answer_is_waited_for_as_long_as_is_said(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(os.fspath(tmp_path / "s"))
        stopped.listen()
        with pytest.raises(NoAnswerError, match=r"not answered within 0\.05 s$"):
            control.request(tmp_path / "s", {"do": "selftest"}, 0.05)


def test_socket_is_for_its_owner_and_goes_with_the_server(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    served.end()
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
        peer.settimeout(DEADLINE_S)
        peer.connect(os.fspath(served.path))
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b""
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}


def connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(os.fspath(path))
    peer.settimeout(DEADLINE_S)
    return peer


def is_connected(peer: socket.socket) -> bool:
    """Tell whether the server has not closed a connection on which it said nothing."""
    return not select.select([peer], [], [], 0)[0] or peer.recv(1) != b""


@pytest.fixture
def peers_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is dropped for its silence: whoever waited for that would get no answer."""
    monkeypatch.setattr(control, "_PEER_TIMEOUT_S", 2 * DEADLINE_S)


@pytest.mark.usefixtures("peers_have_time")
def test_silent_and_slow_peers_delay_nobody(served: Served) -> None:
    silent = [connected(served.path) for _ in range(8)]
    slow = connected(served.path)
    slow.send(b"{")
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}
    for peer in (*silent, slow):
        assert is_connected(peer)  # nobody waited for its end
        peer.close()


def test_silent_peers_in_number_do_not_keep_others_out(served: Served) -> None:
    silent = [connected(served.path) for _ in range(200)]
    assert control.request(served.path, {"text": "on"}) == {"echo": "on"}
    for peer in silent:
        peer.close()


@pytest.mark.usefixtures("peers_have_time")
def test_peer_that_takes_no_answer_delays_nobody(served: Served) -> None:
    with connected(served.path) as greedy:
        greedy.sendall(b'{"text": "x", "times": 9000000}\n')
        assert greedy.recv(1) == b"{"
        assert control.request(served.path, {"text": "on"}) == {"echo": "on"}
        assert any(peer.answer for peer in served.server._peers.values())


def test_peer_whose_time_is_over_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PEER_TIMEOUT_S", 0.05)
    served = Served(tmp_path / "control.sock")
    with connected(served.path) as silent:
        assert silent.recv(1) == b""
    served.end()


def test_peer_is_not_late_when_the_server_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PEER_TIMEOUT_S", 0.05)
    server = ControlServer(tmp_path / "control.sock", answer)
    with connected(tmp_path / "control.sock") as peer:
        server.serve()
        peer.sendall(b'{"text": "on"}\n')
        time.sleep(0.1)
        server.expire()
        server.serve()
        server.serve()
        assert peer.recv(100) == b'{"ok": true, "echo": "on"}\n'
    server.close()


def test_path_that_is_too_long_is_an_error_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ControlError, match="too long"):
        ControlServer(path, answer)


@pytest.mark.parametrize("holds", [(), ("something",)])
def test_directory_in_the_place_of_the_socket_makes_way(
    tmp_path: Path, holds: tuple[str, ...]
) -> None:
    path = tmp_path / "control.sock"
    path.mkdir()
    for name in holds:
        (path / name).touch()
    server = ControlServer(path, answer)
    assert stat.S_ISSOCK(path.stat().st_mode)
    server.close()
    moved = [*tmp_path.iterdir()]
    assert [each.name for each in moved for each in each.iterdir()] == [*holds]
    told = f"{path} was a directory: moved to {moved[0].name}" if moved else ""
    assert server.moved == told


def test_server_says_who_asks_whatever_the_client_says(tmp_path: Path) -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(message: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(message)
        return {}

    server = ControlServer(tmp_path / "s", answer)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(os.fspath(tmp_path / "s"))
        client.sendall(b'{"do": "x", "peer": 1}\n')
        server.serve()
        server.serve()
    server.close()
    assert asked == [{"do": "x", "peer": os.getpid()}]
