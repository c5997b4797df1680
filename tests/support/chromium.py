# SPDX-License-Identifier: MIT
"""Headless Chromium, driven through a pipe: pages opened, looked at, worked with."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")
_TIMEOUT_S = 60


class Browser:
    """One page of a browser.

    `told` has the messages of the page's console, and what its content security policy
    has refused.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._data = b""
        self._number = 0
        self._session = ""
        self.told: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Any:
        """Return the result of a command of the DevTools protocol."""
        self._number += 1
        message: dict[str, object] = {
            "id": self._number,
            "method": method,
            "params": parameters,
        }
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _message(self) -> Any:
        while b"\0" not in self._data:
            data = os.read(self._read_fd, 1 << 20)
            assert data, "the browser has ended"
            self._data += data
        text, _, self._data = self._data.partition(b"\0")
        return json.loads(text)

    def _note(self, event: Any) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Log.entryAdded":
            self.told.append(parameters["entry"]["text"])
        elif event.get("method") in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Page.javascriptDialogOpening",
        ):
            self.told.append(json.dumps(parameters))

    def open(self, path: Path) -> float:
        """Open a page; return the seconds until it is ready to work with."""
        start = time.monotonic()
        self.call("Page.navigate", url=path.as_uri())
        ready = f"location.href === {json.dumps(path.as_uri())}"
        ready += " && document.documentElement?.dataset.ready === 'yes'"
        while not self.ask(ready):
            assert time.monotonic() - start < _TIMEOUT_S, self.told
            time.sleep(0.01)
        self.painted()
        return time.monotonic() - start

    def painted(self) -> None:
        """Wait until what has changed is painted."""
        self.ask(
            "new Promise(done =>"
            " requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        codes = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39}
        for kind in ("rawKeyDown", "keyUp"):
            code = codes.get(key, 0)
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code
            )

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Move or press the mouse."""
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
        )

    def window(self, width: int, height: int, *, dark: bool) -> None:
        """Give the page a size and a scheme of colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.painted()

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        self.painted()
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser() -> Iterator[Browser]:
    """Yield a browser; it ends with the block."""
    assert PROGRAM is not None
    from_test, to_browser = os.pipe()
    from_browser, to_test = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [
                *(str(PROGRAM), "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--remote-debugging-pipe", "--no-first-run", "--disable-sync"),
                *("--disable-background-networking", f"--user-data-dir={profile}"),
            ],
            preexec_fn=lambda: _as_3_and_4(from_test, to_test),
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_test)
        os.close(to_test)
        try:
            yield Browser(from_browser, to_browser)
        finally:
            process.kill()
            process.wait()
            os.close(to_browser)
            os.close(from_browser)


def _as_3_and_4(reading: int, writing: int) -> None:
    """Put two descriptors where the browser looks for them."""
    copies = os.dup(reading), os.dup(writing)
    os.dup2(copies[0], 3)
    os.dup2(copies[1], 4)
