# SPDX-License-Identifier: MIT
"""The life of the daemon: load, attach, poll, reload, stop."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sysmonlx import __version__
from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.capture.loading import Loading
from sysmonlx.capture.sensor import load_capture
from sysmonlx.enrich.context import Context
from sysmonlx.errors import ControlError
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.program_opener import ProgramOpener
from sysmonlx.host import capabilities, inode, memory
from sysmonlx.host.aside import Aside
from sysmonlx.host.machine import boot_offset, machine_id, measure_boot_offset
from sysmonlx.host.paths import Resolver
from sysmonlx.host.ports import Services
from sysmonlx.host.process_arguments import CommandLines
from sysmonlx.host.procfs import Procfs
from sysmonlx.host.users import Users
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.render import Renderer
from sysmonlx.pipeline.flow import Held, Pipeline
from sysmonlx.policy import FORM, Policy, Settings
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.table import ProcessTable
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import SCHEMA_VERSION
from sysmonlx.service import compilation, systemd
from sysmonlx.service.census import Census
from sysmonlx.service.compilation import Compiled, compile_at_start
from sysmonlx.service.configuration import is_changed
from sysmonlx.service.control import ControlServer, Later, Message
from sysmonlx.service.guard import Guard
from sysmonlx.service.health import Health
from sysmonlx.service.installed import Paths
from sysmonlx.service.keeper import KeeperWatch
from sysmonlx.service.metrics import MetricsFile
from sysmonlx.service.prometheus import prometheus
from sysmonlx.service.reload import InForce, Reload, forget_before
from sysmonlx.service.second_try import SecondTry
from sysmonlx.service.spawn import run_again
from sysmonlx.service.statistics import Statistics
from sysmonlx.service.updates import Files, Updates

if TYPE_CHECKING:
    from subprocess import Popen

#: The reader looks so often while there is something; a record waits so long at most.
TICK_S = 0.05
#: After so many looks at nothing it sleeps until the kernel wakes it. One more than it
#: takes: a record may be on its way that was not told yet that the reader sleeps.
_QUIET_TICKS = 2
_HOUSEKEEPING_S = 1.0
#: So often, in seconds, memory is given back; first when the first files are hashed.
_COLLECT_EVERY, _COLLECT_FIRST = 60, 5
#: Files of names are looked at every second, and where no record comes so much later
#: at most, for rules that ask the kernel about users; or before the next record.
_REST_S = 4
#: Records that are written together, and batches before other work has its turn.
_BATCH, _BATCHES = 256, 32
#: A stop ends within 2 s: so much for what is in the ring, for hashes, for the sinks.
_DRAIN_S, _HASH_S, _CLOSE_S = 0.7, 0.3, 0.5
_STATE, _CONFIG, _ERROR = 4, 16, 255
#: Longest wait for the removal of the metrics file at a stop, in seconds.
_REMOVAL_S = 0.5
#: After so many shortages in a row, `TICK_S` apart, the daemon ends.
_SHORTAGES = 100


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. `started_with` is the command line shown by event 16 without a file.

    `keeps_state` is off for a foreground run beside an installed daemon: it has its own
    numbers and no control socket. `watch` sees every event. `refused` says why the
    policy is not that of the installed file, `warnings` what was found in that file
    when it was read anew, `ended` how the daemon before this ended.
    """

    paths: Paths
    started_with: str = "sysmonlx -i"
    keeps_state: bool = True
    btf_path: str = ""
    watch: Callable[[int, Sequence[str]], None] | None = None
    drops_capabilities: bool = True
    refused: str = ""
    warnings: str = ""
    ended: str = ""


class Daemon:
    """Everything that runs, for one policy at a time."""

    def __init__(self, policy: Policy, options: Options) -> None:
        self.options = options
        elements = policy.ruleset.elements
        self._in_force = InForce(policy, compile_rules(policy.ruleset), len(elements))
        self._stopping = False
        self._hang_up = False
        self._quiet = 0
        self._rested_s = 0
        self._chores_done = 0
        self._shortages = 0
        self._children: list[Popen[bytes]] = []
        self._control: ControlServer | None = None
        self._handlers: dict[int, Callable[[], object]] = {}
        self._manager = systemd.Reports()
        self._refused = options.refused
        self._again = SecondTry(options.paths.config_file)
        self.keeper = KeeperWatch(options.paths)
        self._remarks: list[str] = []

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._in_force.policy

    def start(self) -> None:
        """Load, scan, attach; afterwards every event is seen.

        Raises:
            CaptureError, InstallError, ControlError: with the reason.
        """
        memory.bound_heap()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hang_up)
        hooks = self._in_force.hooks()
        self._load(hooks)
        self.filter = KernelFilter(self.capture.maps, self.capture.btf)
        made = compile_at_start(self.policy, self.filter.form)
        self._in_force = InForce(made.policy, made.rules, made.elements)
        self._make_pipeline()
        self.census.look()
        self.capture.attach_processes()
        self.census.look()
        self.reload.tell_kernel(self.policy.settings, made.rules)
        self.filter.begin(made.kernel, made.rules.can_emit, self.users.names)
        self.capture.want(hooks)
        self._listen()
        if self.options.drops_capabilities:
            capabilities.drop()
            self.capture.forget_modules()
        self.census.read_args()
        self.hasher.start()
        self.aside.begin()
        self.users.begin({process.uid for process in self.processes})
        self._report_start()
        self.output.flush()

    def _load(self, hooks: Iterable[Hook]) -> None:
        options, ring_bytes = self.options, self.policy.settings.ring_size_bytes
        self.capture = load_capture(
            hooks,
            ring_bytes,
            wake_bytes=ring_bytes // 16,
            btf_path=options.btf_path,
            keep_in=options.paths.programs_file if options.keeps_state else None,
        )

    def _make_pipeline(self) -> None:
        options, settings = self.options, self.policy.settings
        paths = options.paths
        procfs = Procfs()
        offset = boot_offset(
            paths.state_dir,
            procfs.boot_id(),
            store=options.keeps_state,
            tell=self._remarks.append,
        )
        identity = Identity(machine_id(paths.machine_id_file), offset)
        self.processes = ProcessTable(identity, self.capture.layouts)
        self.census = Census(self.capture, self.processes, CommandLines())
        self.processes.rescan = self.census.repeat
        self.aside = Aside()
        self.users = Users(aside=self.aside)
        self.hasher: Hasher[Held] = Hasher(
            ProgramOpener(procfs),
            settings.hash_algorithms,
            identify=self.capture.identifier(),
        )
        self.context = Context(
            self.processes,
            self.users,
            Services(aside=self.aside),
            settings,
            measure_boot_offset(),
            Resolver(procfs, aside=self.aside),
        )
        ids = RecordIds(paths.record_id_file if options.keeps_state else None)
        self._remarks += [ids.warning] if ids.warning else []
        self.output = Output(ids, options.watch)
        self.output.configure(settings, partial(self._make_renderer, settings))
        self.pipeline = Pipeline(
            self.capture.layouts,
            self.processes,
            self.context,
            self.output,
            self.hasher,
            self.capture.mark_known,
        )
        self.pipeline.use_rules(self._in_force.rules)
        self.health = Health(
            self.capture,
            self.pipeline,
            self.output,
            self.context,
            self.aside,
            self.census,
        )
        self.guard = Guard(self.capture, self.filter, self.context.utc_of_wall)
        self.statistics = Statistics(
            self.capture,
            self.filter,
            self.processes,
            self.census,
            self.aside,
            self.hasher,
            self.output,
            self.pipeline,
            self.health,
            self.guard,
        )
        self._metrics = MetricsFile()
        self._told_metrics = ""
        self.reload = Reload(
            self.capture,
            self.pipeline,
            self.filter,
            self.context,
            self.output,
            self.hasher,
            self.health,
            self.users,
            self._make_renderer,
        )
        self.reload.set_settings(settings)

    def _make_renderer(
        self, settings: Settings, form: str, limit_bytes: int
    ) -> Renderer:
        return Renderer(
            form,
            os.uname().nodename,
            os.getpid(),
            os.getpid(),
            os.geteuid(),
            limit_bytes,
            settings.field_sizes,
        )

    def _listen(self) -> None:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._epoll = select.epoll()
        self._handle(self.capture.ring.fileno(), _nothing)  # `_work` reads it
        self._handle(self.hasher.fileno(), self.pipeline.take_hashes)
        self._handle(self._wake_read, self._drain_signals)
        self.updates = Updates(
            self._handle, self._forget, self._begin_loading, self._put
        )
        if self.options.keeps_state:
            self._listen_to_commands()

    def _listen_to_commands(self) -> None:
        """Have the control socket; events are captured without it, too."""
        try:
            path = self.options.paths.control_socket
            self._control = control = ControlServer(path, self._answer)
        except ControlError as error:
            self._remarks.append(f"{error}: -c and -stats cannot reach this service")
            return
        self._remarks += [control.moved] if control.moved else []
        self._handle(control.fileno(), control.serve)

    def _handle(self, fd: int, handler: Callable[[], object]) -> None:
        """Call `handler` whenever `fd` is readable; it reads all that is there."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def _drain_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_hang_up(self, *_: object) -> None:
        self._hang_up = True

    def _report_start(self) -> None:
        source = self.policy.source
        name = source or self.options.started_with
        self.pipeline.report(
            _CONFIG, (self.pipeline.utc_now(), name, self.policy.digest_text())
        )
        self._report_state("Started")
        ended = self.options.ended
        self._report_error("Restart", ended and f"The service {ended}; started again")
        self._report_error("Configuration", self._refused)
        self._report_error("Configuration", self.options.warnings)
        for text in self._remarks:
            self._report_error("State", text)

    def _report_error(self, what: str, text: str) -> None:
        if text:
            self.pipeline.report(_ERROR, (self.pipeline.utc_now(), what, text))

    def _report_state(self, state: str) -> None:
        now = self.pipeline.utc_now()
        self.pipeline.report(_STATE, (now, state, __version__, SCHEMA_VERSION))

    def run(self) -> None:
        """Work until a signal says stop; then drain, report and close."""
        self.capture.keep()
        forget_before()  # the start took more than what is left of it
        gc.disable()
        next_chores = 0.0
        has_more = False
        while not self._stopping:
            self._wait(0.0 if has_more else self._pause_s(next_chores))
            has_more = self._work_on()
            self._manager.beat()
            now = time.monotonic()
            if now >= next_chores:
                next_chores = now + _HOUSEKEEPING_S
                self._chores()
        self._stop()

    def _pause_s(self, next_chores: float) -> float:
        """Return how long to wait for the next look at the ring."""
        waits = self.capture.ring.fill() or self.pipeline.held
        if self._quiet < 1 or waits or self.output.is_moving():
            return TICK_S
        self.capture.set_variable("reader_sleeps", 1)
        if self._quiet < _QUIET_TICKS:
            return TICK_S
        return max(0.0, next_chores - time.monotonic())

    def _wait(self, timeout_s: float) -> None:
        writable = self.output.waiting()
        for fd in writable:
            self._epoll.register(fd, select.EPOLLOUT)
        events = self._epoll.poll(timeout_s)
        for fd in writable:
            self._epoll.unregister(fd)
        for fd, _ in events:
            self._handlers.get(fd, _nothing)()

    def _work(self) -> bool:
        """Take what the ring holds, in batches; True: there may be more."""
        take, ring = self.pipeline.take, self.capture.ring
        self.health.peak_fill = max(self.health.peak_fill, ring.fill())
        for _ in range(_BATCHES):
            records = ring.read(_BATCH)
            if records and self._rested_s:
                self._renew_names()
            self._quiet = 0 if records else self._quiet + 1
            take(records)
            if self.pipeline.held:
                self.pipeline.take_hashes()
            self.output.flush()
            if len(records) < _BATCH:
                return False
        return True

    def _work_on(self) -> bool:
        """Do `_work`; where memory or descriptors are short, pause and go on.

        What was not taken stays in the ring. A shortage that lasts ends the daemon: a
        new one may do better.
        """
        try:
            has_more = self._work()
        except (MemoryError, OSError) as error:
            self._shortages += 1
            if not _is_shortage(error) or self._shortages > _SHORTAGES:
                raise
            self.pipeline.account.note(error)
            time.sleep(TICK_S)
            return False
        self._shortages = 0
        return has_more

    def _chores(self) -> None:
        """Do what is due every second; a chore that fails keeps no other back."""
        for chore in (
            self._renew,
            self._look_after_hooks,
            self._look_after_processes,
            self._act_on_hang_up,
            self.capture.keep,
            self._give_memory_back,
            self._write_metrics,
            self._tell_manager,
        ):
            try:
                chore()
            except Exception as error:  # it is told by event 255, and tried again
                self.pipeline.account.note(error)
        self.output.flush()

    def _renew(self) -> None:
        self.context.set_clock(measure_boot_offset())
        self.aside.renew()
        if self._quiet < _QUIET_TICKS or self._rested_s >= _REST_S:
            self._renew_names()
        else:
            self._rested_s += 1
        self._tell_users()
        if self._control is not None:
            self._control.expire()
        self.updates.expire()

    def _renew_names(self) -> None:
        """Look at the files of names; while nothing happens that can wait a little."""
        self._rested_s = 0
        try:
            self.context.renew()
        except Exception as error:  # no record waits for this
            self.pipeline.account.note(error)

    def _look_after_hooks(self) -> None:
        self.health.tell(self.guard.look())

    def _look_after_processes(self) -> None:
        self.processes.expire(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if self.health.check() or self.processes.unknown:
            self.census.repeat()
        else:
            self.census.follow_up()

    def _act_on_hang_up(self) -> None:
        self._children = [each for each in self._children if each.poll() is None]
        if self._hang_up:
            self._hang_up = False
            self._on_reload_signal()
        elif self._refused and not self._children and self._again.is_due():
            self._read_again()

    def _give_memory_back(self) -> None:
        self._chores_done += 1
        if self._chores_done % _COLLECT_EVERY == _COLLECT_FIRST:
            memory.give_back()  # also cycles: none are meant to be there

    def _write_metrics(self) -> None:
        """Write the Prometheus text file where the configuration asks for one.

        An event reports why there are no metrics, the same reason only once.
        """
        path = self.policy.settings.metrics_file
        if not path:
            self._metrics.end()
            return
        counters = self.statistics.collect(())
        self._metrics.write(path, prometheus(counters).encode())
        trouble = self._metrics.trouble
        if trouble not in ("", self._told_metrics):
            self._told_metrics = trouble
            self._report_error("MetricsFile", trouble)

    def _sink_troubles(self) -> list[str]:
        """Return why sinks and the metrics are not written at present, and the like."""
        others = (self._refused, self._metrics.trouble, self.keeper.trouble())
        return [*self.output.troubles(), *filter(None, others)]

    def _tell_manager(self) -> None:
        self._manager.status(self.status())

    def _tell_users(self) -> None:
        """Let the rules in the kernel know the names learnt since."""
        for uid, name in self.users.names.take_learnt().items():
            self.filter.add_user(uid, name)

    def _on_reload_signal(self) -> None:
        """Open the sinks anew; a changed configuration file is read by a child."""
        self.output.reopen()
        path = self.options.paths.config_file
        if self._refused or is_changed(path, self.policy):
            self._read_again()

    def _read_again(self) -> None:
        """Have a child put the installed file in force."""
        if self.options.keeps_state:
            path = os.fspath(self.options.paths.config_file)
            with contextlib.suppress(OSError):
                self._children.append(run_again("-c", path))

    def _answer(self, message: Message) -> Message | Later:
        if message.get("do") == "reload":
            text, files = _new_policy(message, self.options.paths)
            return self.updates.begin(
                partial(compilation.begin, text, self.filter.form), files
            )
        if message.get("do") == "stats":
            return {"stats": self.statistics.collect(self._sink_troubles())}
        if message.get("do") == "pid":
            return {"pid": os.getpid(), "form": FORM}
        if message.get("do") == "missing":
            return self.report()
        if message.get("do") == "reopen":
            self.output.reopen()
            return self.report()
        raise ControlError("The daemon does not know this request")

    def _begin_loading(self, made: Compiled) -> Loading | None:
        """Have a thread load the programs that a new policy needs; None: it is done."""
        new = InForce(made.policy, made.rules, made.elements)
        return self.capture.begin_loading(new.hooks())

    def _put(self, made: Compiled, files: Files) -> Message:
        """Put a new policy in force: the programs stay attached meanwhile."""
        policy = made.policy
        self.capture.finish_loading()
        self._work()
        self._manager.beat()
        self._in_force, troubles = self.reload.put(self._in_force, made, files)
        now, name = self.pipeline.utc_now(), policy.source or "-"
        self.pipeline.report(_CONFIG, (now, name, policy.digest_text()))
        for text in troubles:
            self.pipeline.report(_ERROR, (now, "Configuration", text))
        self.output.flush()
        forget_before()
        self._refused = ""
        self._manager.beat()
        return self.report()

    def report(self) -> Message:
        """Return what is missing, what is in trouble, and what was refused; see -i."""
        trouble, refused = self._trouble(), self._refused
        return {"missing": self.missing(), "trouble": trouble, "refused": refused}

    def _trouble(self) -> list[str]:
        refused = [self._refused] if self._refused else []
        keeper = filter(None, (self.keeper.trouble(),))
        return [*refused, *self._remarks, *self.output.troubles(), *keeper]

    def status(self) -> str:
        """Return what is in force and what is wrong, for `systemctl status`."""
        count = self._in_force.elements
        name = self.policy.source or "the built-in defaults"
        return "; ".join((f"{name} ({count} event rules)", *self._trouble()))

    def missing(self) -> list[str]:
        """Return what this kernel cannot do for the policy in force, a line each."""
        missing = [*map(str, self.capture.missing), *self.guard.missing()]
        return [
            *missing,
            *self.filter.remarks(),
            *self.health.remarks(),
            *_without_openat2(),
        ]

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        self.updates.end("The daemon is being stopped")
        self.capture.detach_all()
        deadline = time.monotonic() + _DRAIN_S
        while self.capture.ring.fill() > 0 and time.monotonic() < deadline:
            self._work()
        deadline = time.monotonic() + _HASH_S
        while self.pipeline.held and time.monotonic() < deadline:
            time.sleep(0.01)
            self.pipeline.take_hashes()
        self.pipeline.release_all()
        self.health.end_budget()
        self.health.report_losses()
        self._report_state("Stopped")
        self._metrics.end(_REMOVAL_S)
        self.close()

    def close(self) -> None:
        """Give everything back; what waits in the sinks has a moment to get out."""
        if self._control is not None:
            self._control.close()
        if hasattr(self, "output"):
            self.output.close(_CLOSE_S)
            self.hasher.close()
            self.census.close()
        if hasattr(self, "capture"):
            self.capture.close()


def _without_openat2() -> list[str]:
    """Return what is missing where openat2(2) cannot be used, a line at most."""
    reason = inode.why_not()
    what = "paths through links, and hashes of programs that end at once"
    return [f"{what} (openat2: {reason})"] if reason else []


def _is_shortage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
    return True


def _nothing() -> None:
    """Do nothing."""


def _new_policy(message: Message, paths: Paths) -> tuple[str, dict[Path, bytes]]:
    """Return the policy of a request, and what is to be stored, by file.

    The configuration file comes last. A start that finds it older than the policy
    reads it again: an update that a power failure cuts short has not happened.

    Raises:
        ControlError: the request has no policy.
    """
    try:
        text = str(message["policy"])
        files = {paths.policy_file: text.encode()}
    except (KeyError, UnicodeEncodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ControlError(f"The request is malformed: {reason}") from error
    for name, path in (
        ("command_line", paths.command_line_file),
        ("config", paths.config_file),
    ):
        data = message.get(name)
        if isinstance(data, str):
            files[path] = data.encode("latin-1", "replace")
    return text, files
