# SPDX-License-Identifier: MIT
"""What an event says, as the parts of a row: who did it, how, and to what.

A body has a `head`, which is never cut, and a `main` part, of which the middle goes
first. Names are words (`terminal.word`), so that blanks in them part nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import PLACES
from sysmonlx.viewer.signs import Signs
from sysmonlx.viewer.what import base_name

Values = Sequence[str]

#: Stands for a value that is not known.
UNKNOWN = "-"


class Body(NamedTuple):
    """The parts; `target` is the file or end that the event is about."""

    head: str
    main: str
    target: str = ""


#: Makes a body of the values of an event; `has_parent` is off where the tree shows who
#: started the program.
MakeBody = Callable[[Values, Signs, bool], Body]


def _picker(event_id: int, *names: str) -> Callable[[Values], tuple[str, ...]]:
    return itemgetter(*(PLACES[event_id][name] for name in names))


_started = _picker(1, "Image", "CommandLine", "ParentImage")


def _start(values: Values, signs: Signs, has_parent: bool) -> Body:
    image, command, parent = _started(values)
    text = signs.free(command)
    head = ""
    if has_parent and parent != UNKNOWN:
        head = f"{signs.name(base_name(parent))} {signs.of} "
    elif signs.is_ascii:  # a command may hold this sign: the first one is always ours
        head = f"? {signs.of} "
    first = command.partition(" ")[0]
    if base_name(first).lstrip("-") != base_name(image) or text[:1] == "(":
        head += f"({signs.name(image)}) "
    return Body(head, text)


def _end(values: Values, signs: Signs, has_parent: bool) -> Body:
    return Body(_actor(5, values, signs), "ended")


_NETWORK = _picker(
    3,
    *("Protocol", "Initiated", "SourceIp", "SourcePort", "DestinationIp"),
    *("DestinationPort", "SourceHostname", "DestinationHostname"),
)


def _connection(values: Values, signs: Signs, has_parent: bool) -> Body:
    protocol, initiated, source, port, target, target_port, by, to = _NETWORK(values)
    begin = _address(source, port, by, signs)
    end = _address(target, target_port, to, signs)
    way = signs.to
    if initiated == "false":  # this machine is the destination, and stands in front
        begin, end, way = end, begin, signs.back
    head = f"{_actor(3, values, signs)}{signs.name(protocol)} "
    return Body(head, f"{begin} {way} {end}", end)


def _address(address: str, port: str, host: str, signs: Signs) -> str:
    address = signs.name(short_address(address))
    text = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return text if host == "-" else f"{text} ({signs.name(host)})"


def short_address(address: str) -> str:
    """Return an address; the longest row of zero groups of an IPv6 one is `::`."""
    groups = address.split(":")
    if len(groups) != 8:
        return address
    best, begin = 1, -1
    for at in range(8):
        count = 0
        while at + count < 8 and groups[at + count] == "0":
            count += 1
        if count > best:
            best, begin = count, at
    if begin < 0:
        return address
    return f"{':'.join(groups[:begin])}::{':'.join(groups[begin + best :])}"


def _of(event_id: int, name: str) -> MakeBody:
    """Return the maker of the body of an event that is about one file or device."""
    at = PLACES[event_id][name]

    def make(values: Values, signs: Signs, has_parent: bool) -> Body:
        text = signs.free(values[at])
        return Body(_actor(event_id, values, signs), text, text)

    return make


_renamed = _picker(2, "TargetFilename", "PreviousCreationUtcTime", "CreationUtcTime")


def _times(values: Values, signs: Signs, has_parent: bool) -> Body:
    path, before, after = _renamed(values)
    old, new = signs.name(before), signs.name(after)
    return Body(_actor(2, values, signs), f"{signs.name(path)} {old} {signs.to} {new}")


_STREAM = _picker(15, "TargetFilename", "Contents")


def _stream(values: Values, signs: Signs, has_parent: bool) -> Body:
    path, contents = _STREAM(values)
    text = f"{signs.name(path)} = {signs.free(contents)}"
    return Body(_actor(15, values, signs), text)


_QUERY = _picker(22, "QueryName", "QueryResults", "QueryStatus")
#: What a name server answers instead of an address, by QueryStatus.
_ANSWERS = {"3": "NXDOMAIN", "9003": "NXDOMAIN", "9501": "no data", "1460": "time-out"}


def _query(values: Values, signs: Signs, has_parent: bool) -> Body:
    name, results, status = _QUERY(values)
    answer = signs.free(results)
    if status not in ("0", "-"):
        answer = _ANSWERS.get(status) or f"status {signs.name(status)}"
    name = signs.name(name)
    return Body(_actor(22, values, signs), f"{name} {signs.to} {answer}", name)


_LOADED = _picker(6, "ImageLoaded", "SignatureStatus")


def _driver(values: Values, signs: Signs, has_parent: bool) -> Body:
    module, status = _LOADED(values)
    return Body("", f"{signs.name(module)} {signs.name(status)}")


_THREAD = _picker(8, "TargetImage", "TargetProcessId", "StartAddress", "StartModule")


def _injection(values: Values, signs: Signs, has_parent: bool) -> Body:
    target, pid, address, module = map(signs.name, _THREAD(values))
    text = f"injects {target} ({pid}) at {address} {module}"
    return Body(_actor(8, values, signs), text)


_ACCESS = _picker(10, "TargetImage", "TargetProcessId", "GrantedAccess")


def _access(values: Values, signs: Signs, has_parent: bool) -> Body:
    target, pid, access = map(signs.name, _ACCESS(values))
    return Body(_actor(10, values, signs), f"opens {target} ({pid}) {access}", target)


def _pipe(event_id: int, verb: str) -> MakeBody:
    at = PLACES[event_id]["PipeName"]

    def make(values: Values, signs: Signs, has_parent: bool) -> Body:
        text = f"{verb} {signs.free(values[at])}"
        return Body(_actor(event_id, values, signs), text)

    return make


_PROGRAM = _picker(100, "BpfProgramType", "BpfProgramName", "BpfProgramId")


def _bpf(values: Values, signs: Signs, has_parent: bool) -> Body:
    kind, name, number = map(signs.name, _PROGRAM(values))
    return Body(_actor(100, values, signs), f"{kind} {name} #{number}")


_STATE = _picker(4, "State", "Version")
_CONFIGURATION = _picker(16, "Configuration", "ConfigurationFileHash")
_ERROR = _picker(255, "ID", "Description")
#: Digits of a hash that are shown.
_DIGITS = 12


def _state(values: Values, signs: Signs, has_parent: bool) -> Body:
    state, version = map(signs.name, _STATE(values))
    return Body("", f"{state}, version {version}")


def _configuration(values: Values, signs: Signs, has_parent: bool) -> Body:
    name, digest = _CONFIGURATION(values)
    kind, sign, digits = digest.partition("=")
    return Body("", f"{signs.name(name)} {signs.name(kind)}{sign}{digits[:_DIGITS]}")


def _error(values: Values, signs: Signs, has_parent: bool) -> Body:
    what, text = _ERROR(values)
    return Body("", f"{signs.name(what)}: {signs.free(text)}")


#: Bodies that are more than the fields which the schema names for the live view.
_MAKERS: dict[int, MakeBody] = {
    1: _start,
    2: _times,
    3: _connection,
    4: _state,
    5: _end,
    6: _driver,
    7: _of(7, "ImageLoaded"),
    8: _injection,
    9: _of(9, "Device"),
    10: _access,
    11: _of(11, "TargetFilename"),
    15: _stream,
    16: _configuration,
    17: _pipe(17, "creates"),
    18: _pipe(18, "connects"),
    22: _query,
    23: _of(23, "TargetFilename"),
    25: _of(25, "Type"),
    26: _of(26, "TargetFilename"),
    100: _bpf,
    255: _error,
}

#: Fields that a row shows elsewhere.
_ELSEWHERE = frozenset(
    ("RuleName", "UtcTime", "ProcessGuid", "ProcessId", "Image", "User", "SourceImage")
)


def _named(event_id: int) -> MakeBody:
    """Return a maker of `NAME=value ...` from the fields that the schema says."""
    event = EVENT_BY_ID[event_id]
    names = event.shown or tuple(PLACES[event_id])
    pairs = [(n, PLACES[event_id][n]) for n in names if n not in _ELSEWHERE]

    def make(values: Values, signs: Signs, has_parent: bool) -> Body:
        known = ((name, values[at]) for name, at in pairs if values[at] != "-")
        text = " ".join(f"{name}={signs.name(value)}" for name, value in known)
        return Body(_actor(event_id, values, signs), text)

    return make


_ACTORS = {
    event_id: places.get("Image", places.get("SourceImage", -1))
    for event_id, places in PLACES.items()
}


def _actor(event_id: int, values: Values, signs: Signs) -> str:
    """Return the name of the program that acts, and a blank; nothing without one."""
    at = _ACTORS[event_id]
    return f"{signs.name(base_name(values[at]))} " if at >= 0 else ""


#: The function that makes the body of an event, by its id.
BODIES = {event_id: _MAKERS.get(event_id) or _named(event_id) for event_id in PLACES}
