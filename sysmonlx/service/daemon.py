# SPDX-License-Identifier: MIT
"""The life of the daemon: start, loop, updates, stop.

`start` makes the parts (service.wiring) and attaches them. `Daemon.run` is the loop: it
waits for descriptors, takes records (service.reader), and does what is due every second
(service.chores). An update of the rules comes through service.requests and is put in
force by service.reload.
"""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack, closing

from sysmonlx.host import capabilities, memory
from sysmonlx.policy import Policy
from sysmonlx.service import systemd
from sysmonlx.service.chores import Chores
from sysmonlx.service.compilation import Compiled, PolicyInForce, compile_at_start
from sysmonlx.service.flushing import Flushing
from sysmonlx.service.loop import Loop
from sysmonlx.service.messages import ReportAnswer
from sysmonlx.service.metrics_writer import MetricsWriter
from sysmonlx.service.own_events import OwnEvents
from sysmonlx.service.reader import Reader
from sysmonlx.service.reload import Reload, forget_before
from sysmonlx.service.requests import Requests
from sysmonlx.service.rereading import Rereading
from sysmonlx.service.signals import Signals
from sysmonlx.service.snapshot import Snapshot
from sysmonlx.service.standing import Standing
from sysmonlx.service.statistics import Statistics
from sysmonlx.service.updates import Files
from sysmonlx.service.wiring import Options, Parts, wire

#: Parts of a stop, in seconds: to empty the ring buffer, to wait for hashes. With what
#: `Parts.close` may take a stop ends within 2 s.
_DRAIN_S, _HASH_S = 0.7, 0.3
_HASH_LOOK_S = 0.01


def start(policy: Policy, options: Options) -> Daemon:
    """Load, scan, attach; afterwards every event is seen.

    Whatever raises, all that was made until then is given back.

    Raises:
        CaptureError, InstallError, ControlError: with the reason.
    """
    memory.bound_heap()
    with ExitStack() as undo:
        resources = undo.enter_context(ExitStack())
        signals = resources.enter_context(closing(Signals()))
        loop = resources.enter_context(closing(Loop()))
        parts = resources.enter_context(closing(wire(policy, options)))
        made = compile_at_start(policy, parts.filter.form)
        in_force = PolicyInForce.of(made)
        daemon = Daemon(parts, loop, signals, options, in_force, resources)
        daemon.attach(made)
        undo.pop_all()
    return daemon


class Daemon:
    """The loop over the parts; `standing` says which policy is in force."""

    def __init__(
        self,
        parts: Parts,
        loop: Loop,
        signals: Signals,
        options: Options,
        in_force: PolicyInForce,
        resources: ExitStack,
    ) -> None:
        self.parts = parts
        self.loop = loop
        self.standing = Standing(parts, options, in_force)
        self.reader = Reader(parts, is_watched=options.watch is not None)
        self._flushing = Flushing(loop, parts.output)
        self.requests = Requests(
            options.paths,
            parts,
            loop,
            self.standing,
            self._counters,
            self.put,
            self.refuse,
        )
        resources.callback(self.requests.close)
        self._resources = resources
        self._signals = signals
        self._options = options
        self._manager = systemd.Reports()
        self._own_events = OwnEvents(parts.pipeline)
        self._statistics = Statistics(parts)
        self._metrics = MetricsWriter(self._statistics, self.standing, self._own_events)
        self._reload = Reload(parts)
        self.chores = Chores(
            parts,
            self.reader,
            self.requests,
            Rereading(options, signals, self.standing, parts.output),
            self._metrics,
            self.standing,
            self._manager,
        )

    def attach(self, first: Compiled) -> None:
        """See every event from now on, judged by the rules of the first policy."""
        parts, in_force = self.parts, self.standing.in_force
        self._reload.begin(in_force)
        parts.census.look()
        parts.capture.attach_processes()
        parts.census.look()
        self._reload.tell_kernel(in_force.policy.settings, in_force.rules)
        parts.filter.begin(first.kernel, first.rules.can_emit, parts.users.names)
        parts.capture.want(in_force.hooks())
        self._listen()
        if self._options.drops_capabilities:
            capabilities.drop()
            parts.capture.forget_modules()
        parts.census.read_args()
        parts.hasher.start()
        parts.aside.begin()
        parts.users.begin({process.uid for process in parts.processes})
        self._reload.expect_groups(in_force.policy.settings)
        self._report_start()
        parts.output.flush()

    def _listen(self) -> None:
        parts = self.parts
        self.loop.handle(parts.capture.ring.fileno(), _nothing)  # `reader` reads it
        self.loop.handle(parts.programs.fileno(), parts.programs.note)
        self.loop.handle(parts.hasher.fileno(), parts.pipeline.take_hashes)
        self.loop.handle(self._signals.fileno(), self._signals.drain)
        if self._options.keeps_state:
            self.requests.listen()

    def _report_start(self) -> None:
        options, report = self._options, self._own_events
        policy, ended = self.standing.policy, options.ended
        report.configuration(policy, policy.source or options.started_with)
        report.packs(self.standing.in_force.packs)
        report.state("Started")
        report.error("Restart", ended and f"The service {ended}; started again")
        report.error("Configuration", options.refused)
        report.error("Configuration", options.warnings)
        report.errors("State", self.standing.remarks)

    def run(self) -> None:
        """Work until a signal says stop; then drain, report and close."""
        self.parts.capture.keep()
        forget_before()  # the start took more than what is left of it
        gc.disable()
        next_chores_s = 0.0
        has_more = False
        while not self._signals.is_stop:
            pause_s = 0.0 if has_more else self.reader.pause_s(next_chores_s)
            self._flushing.wait(pause_s)
            has_more = self.reader.work_on()
            self._manager.beat()
            now_s = time.monotonic()
            if now_s >= next_chores_s:
                next_chores_s = now_s + self.reader.chores_s()
                self.chores.do_all()
        self._stop()

    def put(self, made: Compiled, files: Files) -> ReportAnswer:
        """Put a new policy in force: the programs stay attached meanwhile.

        Raises:
            Exception: what failed; the policy before is in force.
        """
        standing, report = self.standing, self._own_events
        self.parts.capture.finish_loading()
        self.reader.work()
        self._manager.beat()
        standing.in_force, troubles = self._reload.put(standing.in_force, made, files)
        report.configuration(standing.policy, standing.policy.source or "-")
        report.packs(standing.in_force.packs)
        report.errors("Configuration", troubles)
        self.parts.output.flush()
        forget_before()
        standing.refused = ""
        self._manager.beat()
        return standing.report()

    def refuse(self, reason: str) -> None:
        """Tell everywhere that the configuration file was refused, once each reason."""
        if reason == self.standing.refused:
            return
        self.standing.refused = reason
        self._own_events.error("Configuration", reason)
        self._manager.status(self.standing.status())
        systemd.print_error(reason)

    def _counters(self) -> Snapshot:
        troubles = self.standing.sink_troubles(self._metrics.trouble)
        return self._statistics.collect(troubles, self.standing.lacking())

    def _stop(self) -> None:
        """See nothing new; carry what was seen to the sinks, in a bounded time."""
        parts = self.parts
        systemd.notify("STOPPING=1")
        self.requests.end_update("The daemon is being stopped")
        parts.programs.note()  # perf may have told some since the last look
        self.reader.work()
        parts.capture.detach_all()
        deadline_s = time.monotonic() + _DRAIN_S
        while parts.capture.ring.fill() > 0 and time.monotonic() < deadline_s:
            self.reader.work()
        parts.pipeline.dns.tell_all()
        deadline_s = time.monotonic() + _HASH_S
        while parts.pipeline.held and time.monotonic() < deadline_s:
            time.sleep(_HASH_LOOK_S)
            parts.pipeline.take_hashes()
        parts.pipeline.release_all()
        parts.health.end_budget()
        parts.health.report_losses()
        self._own_events.state("Stopped")
        self._metrics.close()
        self.close()

    def fail(self, reason: str) -> None:
        """Report by an event that the daemon ends."""
        self._own_events.error("Failure", reason)

    def close(self) -> None:
        """Give everything back; lines waiting in the sinks have a moment to get out."""
        self._resources.close()


def _nothing() -> None:
    """Do nothing."""
