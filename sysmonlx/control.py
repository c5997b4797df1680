# SPDX-License-Identifier: MIT
"""The control socket: one JSON request and one JSON answer a connection, root only."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sysmonlx.errors import ControlError, SysmonlxError

Message = dict[str, Any]

#: A configuration of tens of thousands of rules fits; more is no request.
MESSAGE_LIMIT_BYTES = 64 << 20
_PEER_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 30.0


class ControlServer:
    """Listens at `path` (mode 0600, replaced when a dead daemon left it)."""

    def __init__(self, path: Path, answer: Callable[[Message], Message]) -> None:
        self._path = path
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        before = os.umask(0o177)
        try:
            self._socket.bind(os.fspath(path))
        except OSError as error:
            self._socket.close()
            reason = error.strerror or str(error)
            raise ControlError(f"Cannot listen at {path}: {reason}") from error
        finally:
            os.umask(before)
        self._socket.listen(8)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._socket.fileno()

    def serve(self) -> None:
        """Answer one waiting connection; a peer that misbehaves is dropped."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        hopeless = contextlib.suppress(OSError, ValueError, RecursionError)
        with connection, hopeless:
            if _peer_uid(connection) == os.geteuid():
                message = _receive(connection, _PEER_TIMEOUT_S)
                connection.settimeout(_PEER_TIMEOUT_S)
                _send(connection, self._answered(message))

    def _answered(self, message: Message) -> Message:
        try:
            return {"ok": True, **self._answer(message)}
        except SysmonlxError as error:
            return {"ok": False, "error": str(error)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"The request is malformed: {type(error).__name__}: {error}"
            return {"ok": False, "error": text}

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def request(path: Path, message: Message) -> Message:
    """Return the daemon's answer to `message`.

    Raises:
        ControlError: the daemon does not run, does not answer, or says no.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
            _send(connection, message)
            answer = _receive(connection, _ANSWER_TIMEOUT_S)
        except OSError as error:
            reason = error.strerror or "no answer"
            raise ControlError(f"The daemon cannot be reached: {reason}") from error
        except ValueError as error:
            raise ControlError("The daemon's answer is cut short") from error
    if not answer.pop("ok"):
        raise ControlError(str(answer["error"]))
    return answer


def is_running(path: Path) -> bool:
    """Say whether a daemon listens at `path`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(_PEER_TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _peer_uid(connection: socket.socket) -> int:
    size = struct.calcsize("3i")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", data)
    return int(uid)


def _send(connection: socket.socket, message: Message) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket, timeout_s: float) -> Message:
    """Return what the peer sends within this time in all, however slowly it does."""
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    while not data.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(1 << 16)
        if not part or len(data) > MESSAGE_LIMIT_BYTES:
            raise ValueError("cut short")
        data += part
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message
