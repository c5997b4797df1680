# SPDX-License-Identifier: MIT
"""The control socket: one JSON request and one JSON answer a connection, root only."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sysmonlx.errors import ControlError, NoAnswerError, SysmonlxError
from sysmonlx.host.root_files import make_way
from sysmonlx.service.messages import Question, StatsAnswer
from sysmonlx.service.snapshot import Snapshot

#: A request or an answer: a JSON object, see `sysmonlx.service.messages`.
Message = Mapping[str, object]

#: Member of each request that the server adds: the process that asks, by its id as the
#: daemon sees it; 0: it is in a pid namespace that the daemon does not see.
PEER = "peer"

#: Longest message: a configuration of tens of thousands of rules fits.
MESSAGE_LIMIT_BYTES = 64 << 20
#: Time that a client has to send its request, and to take the answer, in seconds.
_PEER_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 30.0
#: Connections at a time. One more ends the oldest that has sent no request.
_PEERS_LIMIT = 32
_READ_BYTES = 1 << 16
#: Pause between two tries to get into a listener's full queue, in seconds.
_CONNECT_RETRY_S = 0.01
#: Errors of a request that is not as it should be, while it is read.
_NONSENSE = (ValueError, RecursionError, MemoryError)


class Later:
    """An answer that is not known yet. The server serves others meanwhile."""

    def __init__(self) -> None:
        self._reply: Callable[[Callable[[], Message]], None] | None = None

    def bind(self, reply: Callable[[Callable[[], Message]], None]) -> None:
        """Have `reply` called with what makes the answer, once."""
        self._reply = reply

    def settle(self, make: Callable[[], Message]) -> None:
        """Let `make` return the answer, or raise why there is none."""
        if self._reply is not None:
            self._reply(make)


@dataclass(eq=False, slots=True)
class _Peer:
    """One connection: the bytes received, then the bytes of the answer still to send.

    `waits` is set while its answer is not known yet.
    """

    connection: socket.socket
    deadline_s: float
    pid: int
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    waits: bool = False


class ControlServer:
    """Listens at `path` (mode 0600). Another file with this name is moved away.

    The server waits for no client. `fileno` is readable when a client can be served at
    once, and `serve` does that. `expire` ends connections of slow clients.
    """

    def __init__(
        self, path: Path, answer: Callable[[Message], Message | Later]
    ) -> None:
        self._path = path
        self._answer = answer
        self._socket, self.moved = _listening_at(path)
        """The thing that was in the socket's place, in words; empty: nothing was."""
        self._peers: dict[int, _Peer] = {}
        self._epoll = select.epoll()
        self._epoll.register(self._socket.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading: an epoll of all connections."""
        return self._epoll.fileno()

    def serve(self) -> None:
        """Read and send what is possible at once; drop clients that misbehave."""
        for fd, _ in self._epoll.poll(0):
            if fd == self._socket.fileno():
                self._accept()
            elif fd in self._peers:
                self._serve_peer(self._peers[fd])

    def expire(self) -> None:
        """Drop clients whose time is over; call it every second or so.

        A client that could be served now is kept: the daemon was late, not the client.
        """
        now_s = time.monotonic()
        late = {fd: p for fd, p in self._peers.items() if p.deadline_s <= now_s}
        for fd in late.keys() - dict(self._epoll.poll(0) if late else ()).keys():
            self._drop(late[fd])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # none is left, or no descriptor is free
            for _ in range(_PEERS_LIMIT):
                self._take_in(self._socket.accept()[0])

    def _take_in(self, connection: socket.socket) -> None:
        try:
            pid, uid = _peer_of(connection)
            connection.setblocking(False)
        except OSError:
            pid, uid = 0, -1
        if uid != os.geteuid():
            connection.close()
            return
        if len(self._peers) >= _PEERS_LIMIT:
            self._drop(min(self._peers.values(), key=_by_patience))
        peer = _Peer(connection, time.monotonic() + _PEER_TIMEOUT_S, pid)
        self._peers[connection.fileno()] = peer
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _serve_peer(self, peer: _Peer) -> None:
        try:
            if peer.answer is None:
                self._receive(peer)
            if peer.answer is not None:
                self._send(peer)
        except OSError:
            self._drop(peer)

    def _receive(self, peer: _Peer) -> None:
        """Take what the peer has sent; answer when the request is whole."""
        with contextlib.suppress(BlockingIOError):
            part = peer.connection.recv(_READ_BYTES)
            peer.received += part
            if not part or len(peer.received) > MESSAGE_LIMIT_BYTES:
                raise ConnectionError("cut short")
        if not peer.received.endswith(b"\n"):
            return
        try:
            message = {**_parsed(peer.received), PEER: peer.pid}
        except _NONSENSE as error:
            raise ConnectionError("not a request") from error
        peer.received = bytearray()
        answer = _made(lambda: self._answer(message))
        if isinstance(answer, Later):
            self._let_wait(peer, answer)
        else:
            self._begin_answer(peer, answer)

    def _let_wait(self, peer: _Peer, later: Later) -> None:
        """Leave a peer alone until its answer is known; it may hang up meanwhile."""
        peer.waits, peer.deadline_s = True, float("inf")
        fd = peer.connection.fileno()

        def reply(make: Callable[[], Message]) -> None:
            answer = _made(make)
            if self._peers.get(fd) is not peer:
                return
            try:
                self._epoll.register(fd, select.EPOLLOUT)
                self._begin_answer(peer, answer)
            except OSError:
                self._drop(peer)
            else:
                self._serve_peer(peer)  # the daemon may be about to end

        later.bind(reply)
        self._epoll.unregister(fd)

    def _begin_answer(self, peer: _Peer, answer: Message | Later) -> None:
        data = json.dumps(answer).encode() + b"\n"
        peer.answer = memoryview(data)
        peer.deadline_s = time.monotonic() + _PEER_TIMEOUT_S
        self._epoll.modify(peer.connection.fileno(), select.EPOLLOUT)

    def _send(self, peer: _Peer) -> None:
        """Send what the peer takes of its answer."""
        answer = peer.answer or memoryview(b"")
        with contextlib.suppress(BlockingIOError):
            peer.answer = answer = answer[peer.connection.send(answer) :]
        if not answer:
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        fd = peer.connection.fileno()
        self._peers.pop(fd, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        peer.connection.close()

    def close(self) -> None:
        """Stop listening, drop all peers and remove the socket."""
        for peer in tuple(self._peers.values()):
            self._drop(peer)
        self._epoll.close()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _made(make: Callable[[], Message | Later]) -> Message | Later:
    """Return the answer, or that there is none and why."""
    try:
        answer = make()
        return answer if isinstance(answer, Later) else {"ok": True, **answer}
    except SysmonlxError as error:
        return {"ok": False, "error": str(error)}
    except Exception as error:
        # No error of a request is a reason to stop the capture.
        text = f"The daemon failed: {type(error).__name__}: {error}"
        return {"ok": False, "error": text}


def _listening_at(path: Path) -> tuple[socket.socket, str]:
    """Return a socket that listens at `path`, for its owner alone, and what was moved.

    Raises:
        ControlError: it cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        moved = make_way(path)
        listening.bind(os.fspath(path))
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise ControlError(f"Cannot listen at {path}: {reason}") from error
    finally:
        os.umask(before)
    listening.listen(_PEERS_LIMIT)
    listening.setblocking(False)
    return listening, moved


def _by_patience(peer: _Peer) -> tuple[bool, float]:
    """Order peers: first those that are not being answered, the oldest of them."""
    return peer.waits or peer.answer is not None, peer.deadline_s


def counters(path: Path) -> Snapshot:
    """Return all counters of the daemon; it has the form of its own version.

    Raises:
        NoAnswerError, ControlError: as `request`.
    """
    answer = cast("StatsAnswer", request(path, Question(do="stats")))
    return answer["stats"]


def request(
    path: Path, message: Message, timeout_s: float = _ANSWER_TIMEOUT_S
) -> dict[str, object]:
    """Return the daemon's answer to `message`, which may take `timeout_s`.

    Raises:
        NoAnswerError: the daemon has the request, and has not answered in time, or
            ended before it had.
        ControlError: the daemon does not run, or says no.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            _connect(connection, path, timeout_s)
            connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            reason = error.strerror or "it takes no request"
            raise ControlError(f"The daemon cannot be reached: {reason}") from error
        try:
            answer = _receive_whole(connection, timeout_s)
        except TimeoutError as error:
            text = f"The daemon has not answered within {timeout_s:g} s"
            raise NoAnswerError(text) from error
        except (OSError, ValueError) as error:
            raise NoAnswerError("The daemon ended before it answered") from error
    if not answer.pop("ok"):
        raise ControlError(str(answer["error"]))
    return answer


def is_running(path: Path) -> bool:
    """Say whether a daemon listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            _connect(connection, path, _PEER_TIMEOUT_S)
        except OSError:
            return False
    return True


def _connect(connection: socket.socket, path: Path, timeout_s: float) -> None:
    """Connect, and set the time-out of later calls, in seconds.

    A socket with a time-out does not wait for a place in the queue of a busy listener,
    unix(7), EAGAIN: the connection is tried again and again.

    Raises:
        OSError: nobody listens, or the queue is full all the time.
    """
    deadline_s = time.monotonic() + timeout_s
    connection.settimeout(timeout_s)
    while True:
        try:
            connection.connect(os.fspath(path))
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_CONNECT_RETRY_S)


def _peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return process id and user id of whoever connected."""
    size = struct.calcsize("3i")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", data)
    return int(pid), int(uid)


def _receive_whole(connection: socket.socket, timeout_s: float) -> dict[str, object]:
    """Return what the peer sends within this time in all, however slowly it does."""
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    while not data.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(_READ_BYTES)
        if not part or len(data) > MESSAGE_LIMIT_BYTES:
            raise ValueError("cut short")
        data += part
    return _parsed(data)


def _parsed(data: bytes | bytearray) -> dict[str, object]:
    message: object = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message
