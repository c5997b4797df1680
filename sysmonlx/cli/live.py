# SPDX-License-Identifier: MIT
"""The live view, for `-t` and for `-i` with `-t`: a thread beside the daemon.

The daemon's thread puts each event into a queue and goes on (`LiveView.show`). The
thread of the view takes them from there every 0.05 s, puts them in order and has them
shown (`showers`), without waiting for its reader. Events that the queue or the reader
does not take are left out of the view, counted, and told. The daemon, and with it the
capture, is not slowed by that.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import FrameType

from sysmonlx.cli.live_forms import form_of
from sysmonlx.cli.live_options import LiveOptions, is_dumb
from sysmonlx.cli.live_world import LiveWorld
from sysmonlx.cli.outlet import GoneError, Outlet
from sysmonlx.cli.showers import REST_S, Lines, OnScreen, Shower, is_enough
from sysmonlx.cli.tty import Tty, has_terminal
from sysmonlx.service.foreground import Watched
from sysmonlx.viewer.console import Console
from sysmonlx.viewer.moments import local_clock
from sysmonlx.viewer.order import LiveEvent, Order
from sysmonlx.viewer.rows import Style
from sysmonlx.viewer.signs import ASCII, UNICODE
from sysmonlx.viewer.terminal import summary
from sysmonlx.viewer.words import Words

Taken = tuple[int, Sequence[str]]

#: Events that wait for the thread: some seconds of a flood.
QUEUE_LIMIT = 50_000
#: How often events are taken, in seconds.
_TICK_S = 0.05
#: Columns of a simple terminal at least: time and mark have room.
_LEAST_WIDTH = 12
#: How long the end waits for a thread that shows nothing, and how long at most, in
#: seconds; and how many events are shown between two looks.
_END_S, _MOST_S, _PIECE = 1.0, 3.0, 500


class LiveView:
    """Shows events on standard output, by a thread of its own."""

    def __init__(self, options: LiveOptions, *, is_verbose: bool = False) -> None:
        self._options = options
        self._form = "verbose" if is_verbose else options.form
        # Before the daemon asks for it: nohup(1) is obeyed.
        self._stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._outlet = Outlet(sys.stdout.fileno())
        self._tty = self._opened_tty()
        if self._tty is not None:  # no empty screen, while the kernel takes programs
            print("Starting ...", file=sys.stderr, flush=True)
        self._queue: deque[Taken] = deque()
        self._missed = 0
        self._sleeps = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._farewell: str | None = None
        self._is_ending = False
        self._error: BaseException | None = None
        self._suspended = threading.Event()
        self._continued = threading.Event()
        self._thread: threading.Thread | None = None
        self._pieces = 0
        """How often the thread has shown something: it goes on."""
        self._shower: Shower | None = None

    def _opened_tty(self) -> Tty | None:
        """Return the terminal, if there is one that can show a screen."""
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if self._form != "rows" or not is_terminal or is_dumb():
            return None
        try:
            tty = Tty(sys.stdin.fileno(), sys.stdout.fileno())
        except OSError:
            return None
        if is_enough(tty.size()) and tty.is_foreground():
            return tty
        tty.close()
        return None

    # --- in the daemon's thread

    def show(self, event_id: int, values: Sequence[str]) -> None:
        """Take one event; nothing here waits."""
        if len(self._queue) >= QUEUE_LIMIT:
            self._missed += 1
            return
        self._queue.append((event_id, values))
        if self._sleeps:
            self._sleeps = False
            os.eventfd_write(self._wake, 1)

    def begin(self, watched: Watched) -> None:
        """Begin to show, with the events that came before."""
        self._watched = watched
        if self._tty is not None:
            signal.signal(signal.SIGTSTP, self._on_stop)
            signal.signal(signal.SIGCONT, self._on_continue)
        self._hang_up = signal.getsignal(signal.SIGHUP)
        if has_terminal():
            signal.signal(signal.SIGHUP, self._on_hang_up)
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._thread.start()

    def summary(
        self, counts: Mapping[int, int], lost: int, cpu_s: float, wall_s: float
    ) -> None:
        """Show at the end how many events there were, by event id.

        Raises:
            OSError: not everything could be written.
        """
        self._farewell = summary(counts, lost, cpu_s, wall_s)
        self.close()
        if self._error is not None:
            raise self._error
        if self._outlet.error is not None:
            raise self._outlet.error

    def close(self) -> None:
        """End, and leave the terminal as it was; also after a summary."""
        self._is_ending = True
        os.eventfd_write(self._wake, 1)
        thread, self._thread = self._thread, None
        if thread is not None and not self._is_over(thread):
            _tell("not all events are shown: the view took too long\n")

    def _is_over(self, thread: threading.Thread) -> bool:
        """Wait for the thread of the view for as long as it goes on."""
        until_s, seen = time.monotonic() + _MOST_S, -1
        while seen != self._pieces and time.monotonic() < until_s:
            seen = self._pieces
            thread.join(_END_S)
            if not thread.is_alive():
                return True
        return False

    def _on_stop(self, *_: object) -> None:
        """Obey SIGTSTP, but for the thread to leave the terminal first."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        self._continued.clear()
        self._suspended.set()
        os.eventfd_write(self._wake, 1)

    def _on_continue(self, *_: object) -> None:
        signal.signal(signal.SIGTSTP, self._on_stop)
        self._continued.set()
        os.eventfd_write(self._wake, 1)

    def _on_hang_up(self, number: int, frame: FrameType | None) -> None:
        """End when the terminal has gone; else as without a view."""
        if self._stays and not has_terminal():
            return
        if callable(self._hang_up) and has_terminal():
            self._hang_up(number, frame)
        elif self._hang_up is not signal.SIG_IGN:
            _end()

    # --- in the thread of the view

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._shower = self._made_shower()
            self._work(self._shower)
        except GoneError:
            pass  # nobody is there to be told
        except BaseException as error:
            self._error = error
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        if self._error is not None and self._shower is not None:
            with contextlib.suppress(Exception):
                self._shower.finish()  # the screen, too, is as it was
        if self._tty is not None:
            self._tty.leave()
        if not self._is_ending:
            _end()

    def _made_shower(self) -> Shower:
        options, watched = self._options, self._watched
        size = self._tty.size() if self._tty else (0, 0)
        is_terminal = sys.stdout.isatty()
        has_colour = options.has_colour(is_terminal=is_terminal)
        style = Style(
            width=_width() if is_terminal else 0,
            has_colour=has_colour,
            has_tree=options.has_tree,
            signs=ASCII if options.is_ascii else UNICODE,
            clock=local_clock() if options.is_local else None,
        )
        own_pid = str(os.getsid(0))
        if self._tty is None:
            words = Words(options.words, None, own_pid)
            form = form_of(self._form, style, watched.policy().settings)
            return Lines(self._outlet, form, words)
        console = Console(
            style,
            size,
            options.words,
            LiveWorld(watched.policy),
            now_s=time.monotonic(),
            own_pid=own_pid,
        )
        return OnScreen(self._outlet, self._tty, console, watched.lost, _encoded)

    def _work(self, shower: Shower) -> None:
        order = Order()
        while not self._is_ending:
            now_s = time.monotonic()
            self._take(order, now_s)
            self._feed(shower, order.take(now_s), now_s)
            shower.tick(now_s)
            self._outlet.pump()
            if self._suspended.is_set():
                self._stop(shower)
            elif not self._wait(shower, is_busy=len(order) > 0 or shower.is_stale):
                return
        self._take(order, time.monotonic())
        self._feed(shower, order.take_all(), time.monotonic())
        self._say_farewell(shower)

    def _take(self, order: Order, now_s: float) -> None:
        count = len(self._queue)
        if count:
            take = self._queue.popleft
            order.add([take() for _ in range(count)], now_s)

    def _feed(self, shower: Shower, events: Sequence[LiveEvent], now_s: float) -> None:
        missed, self._missed = self._missed, 0
        if missed:
            shower.feed((), missed, now_s)
        for at in range(0, len(events), _PIECE):
            shower.feed(events[at : at + _PIECE], 0, now_s)
            self._outlet.pump()
            self._pieces += 1

    def _wait(self, shower: Shower, *, is_busy: bool) -> bool:
        """Wait for events, keys, or room to write; return False at the end."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._outlet.waiting_bytes and not self._outlet.is_regular:
            poll.register(self._outlet.fd, select.POLLOUT)
        if self._tty is not None:
            poll.register(self._tty.fd, select.POLLIN)
        timeout_s = _TICK_S if is_busy or self._outlet.waiting_bytes else None
        if timeout_s is None and self._tty is not None:
            timeout_s = REST_S
        self._sleeps = not is_busy
        if self._queue:
            self._sleeps, timeout_s = False, 0.0
        ready = {fd for fd, _ in poll.poll(timeout_s and timeout_s * 1000)}
        self._sleeps = False
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        if self._tty is not None and self._tty.fd in ready:
            return self._read_keys(shower, self._tty)
        return True

    def _read_keys(self, shower: Shower, tty: Tty) -> bool:
        if not tty.is_foreground():  # the keys are for others
            time.sleep(_TICK_S)
            return True
        data = tty.read()
        if data is None:
            raise GoneError
        if shower.keys(data):
            _end()
        return True

    def _stop(self, shower: Shower) -> None:
        """Leave the terminal, stop the process, go on with it."""
        self._suspended.clear()
        shower.suspend()
        os.kill(os.getpid(), signal.SIGTSTP)
        self._continued.wait(REST_S)
        shower.resume()

    def _say_farewell(self, shower: Shower) -> None:
        told = shower.finish()
        text = "".join(f"{each}\n" for each in (self._farewell, told) if each)
        if self._form == "json":
            sys.stderr.write(text)
        elif text:
            self._outlet.push(_encoded(text))
        self._outlet.drain(_END_S / 2)
        if lost := self._outlet.drop():
            sys.stderr.write(f"{lost} lines were not written: nobody took them\n")


def _tell(text: str) -> None:
    """Write to standard error, unless that is a terminal which takes nothing."""
    if select.select([], [sys.stderr.fileno()], [], 0)[1]:
        sys.stderr.write(text)


def _end() -> None:
    """Ask the daemon for the end."""
    os.kill(os.getpid(), signal.SIGTERM)


def _width() -> int:
    try:
        return max(_LEAST_WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns)
    except OSError:
        return _LEAST_WIDTH


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
