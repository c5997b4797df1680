# SPDX-License-Identifier: MIT
"""The parts of a daemon, made and connected: from the programs to the sinks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.errors import CaptureError
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.program_opener import ProgramOpener
from sysmonlx.host import surroundings
from sysmonlx.host.aside import Aside
from sysmonlx.host.control_groups import ControlGroups
from sysmonlx.host.machine import boot_offset, machine_id, measure_boot_offset
from sysmonlx.host.paths import Resolver
from sysmonlx.host.ports import Services
from sysmonlx.host.process_arguments import CommandLines
from sysmonlx.host.procfs import Procfs
from sysmonlx.host.users import Users
from sysmonlx.output.dispatch import Output
from sysmonlx.output.forms import LineMaker, line_maker
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.render import Writer
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Policy, Settings, SinkChoice
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.table import ProcessTable
from sysmonlx.service.census import Census
from sysmonlx.service.compilation import events_at_start
from sysmonlx.service.guard import Guard
from sysmonlx.service.health import Health
from sysmonlx.service.installed import Paths
from sysmonlx.service.line_limits import line_limit
from sysmonlx.service.loaded_programs import LoadedPrograms

#: Longest time that lines have to leave the sinks at the end, in seconds.
_CLOSE_S = 0.5
#: The kernel wakes the reader when this part of the ring buffer is full: 1/16.
_WAKE_PARTS = 16


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


@dataclass(frozen=True, slots=True)
class Parts:
    """All that one daemon has, in the order in which a record meets it.

    `remarks` are texts about files of the state directory that cannot be used.
    """

    capture: Capture
    filter: KernelFilter
    processes: ProcessTable
    census: Census
    aside: Aside
    users: Users
    hasher: Hasher[Held]
    context: Context
    output: Output
    pipeline: Pipeline
    programs: LoadedPrograms
    health: Health
    guard: Guard
    remarks: tuple[str, ...]
    _resources: ExitStack

    def close(self) -> None:
        """Give everything back; lines waiting in the sinks have a moment to get out."""
        self._resources.close()


def wire(policy: Policy, options: Options) -> Parts:
    """Load the programs that `policy` needs, and make all that works with them.

    Nothing is attached yet, no rules are in force and no sinks are open. Whatever
    raises, all that was made until then is given back.

    Raises:
        CaptureError: the programs cannot be loaded, and why.
    """
    if reason := surroundings.refusal():
        raise CaptureError(reason)
    with ExitStack() as undo:
        return _parts(undo, policy, options)


def _parts(undo: ExitStack, policy: Policy, options: Options) -> Parts:
    """Make all parts; `undo` gets what gives them back, and `Parts` in the end."""
    remarks: list[str] = []
    procfs, settings = Procfs(), policy.settings
    capture = _capture(undo, policy, options)
    processes = ProcessTable(_identity(procfs, options, remarks), capture.layouts)
    census = _census(undo, capture, processes)
    aside = Aside()
    undo.callback(aside.end)
    users = Users(aside=aside)
    hasher = _hasher(undo, procfs, capture, settings)
    context = _context(undo, settings, procfs, processes, users, aside)
    output = _output(undo, options, remarks)
    pipeline = Pipeline(
        capture.layouts, processes, context, output, hasher, capture.mark_known
    )
    kernel_filter = KernelFilter(capture.maps, capture.btf)
    undo.callback(lambda: kernel_filter.discard(kernel_filter.now))
    sources = aside, census, capture.quiet_requests
    return Parts(
        capture=capture,
        filter=kernel_filter,
        processes=processes,
        census=census,
        aside=aside,
        users=users,
        hasher=hasher,
        context=context,
        output=output,
        pipeline=pipeline,
        programs=_programs(capture, processes),
        health=Health(capture, pipeline, output, context, *sources),
        guard=Guard(capture, kernel_filter, context.utc_of_wall),
        remarks=tuple(remarks),
        _resources=undo.pop_all(),
    )


def _programs(capture: Capture, processes: ProcessTable) -> LoadedPrograms:
    has_all_pids = surroundings.is_first("pid")
    told = capture.told_programs
    return LoadedPrograms(told, processes, os.getpid(), knows_pids=has_all_pids)


def make_renderer(settings: Settings, choice: SinkChoice) -> LineMaker:
    """Return the maker of the lines of a sink.

    Args:
        settings: Those of the policy that the lines are for.
        choice: The sink that the lines are for.
    """
    pid = os.getpid()
    system = Writer(os.uname().nodename, pid, pid, os.geteuid())
    limit_bytes = line_limit(settings, choice).size_bytes
    sizes, appended = settings.field_sizes, settings.appended
    maker = line_maker(choice.form, system, limit_bytes, sizes, appended)
    if choice.kind != "journald":
        return maker
    from sysmonlx.output.journal import JournalMaker

    return JournalMaker(maker)


def _capture(undo: ExitStack, policy: Policy, options: Options) -> Capture:
    settings = policy.settings
    capture = load_capture(
        hooks_for(events_at_start(policy), settings),
        settings.ring_size_bytes,
        wake_bytes=settings.ring_size_bytes // _WAKE_PARTS,
        btf_path=options.btf_path,
        keep_in=options.paths.programs_file,
        only_reads=not options.keeps_state,
    )
    undo.callback(capture.close)
    return capture


def _identity(procfs: Procfs, options: Options, remarks: list[str]) -> Identity:
    paths = options.paths
    offset = boot_offset(
        paths.state_dir,
        procfs.boot_id(),
        store=options.keeps_state,
        tell=remarks.append,
    )
    return Identity(machine_id(paths.machine_id_file), offset)


def _census(undo: ExitStack, capture: Capture, processes: ProcessTable) -> Census:
    census = Census(capture, processes, CommandLines())
    undo.callback(census.close)
    processes.rescan = census.repeat
    processes.lost_execs = census.lost_execs
    return census


def _context(
    undo: ExitStack,
    settings: Settings,
    procfs: Procfs,
    processes: ProcessTable,
    users: Users,
    aside: Aside,
) -> Context:
    resolver = Resolver(procfs, aside=aside)
    undo.callback(resolver.close)
    ports, offset_ns = Services(aside=aside), measure_boot_offset()
    groups = ControlGroups(aside)
    return Context(processes, users, ports, settings, offset_ns, resolver, groups)


def _hasher(
    undo: ExitStack, procfs: Procfs, capture: Capture, settings: Settings
) -> Hasher[Held]:
    hasher: Hasher[Held] = Hasher(
        ProgramOpener(procfs),
        settings.hash_algorithms,
        identify=capture.identifier(),
    )
    undo.callback(hasher.close)
    return hasher


def _output(undo: ExitStack, options: Options, remarks: list[str]) -> Output:
    paths, keeps = options.paths, options.keeps_state
    ids = RecordIds(*((paths.record_id_file, paths.next_id_file) if keeps else (None,)))
    if ids.warning:
        remarks.append(ids.warning)
    output = Output(ids, options.watch)
    undo.callback(output.close, _CLOSE_S)
    return output
