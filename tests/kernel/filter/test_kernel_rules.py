# SPDX-License-Identifier: MIT
"""Rules in the kernel on real events: one daemon sees all, another one filters."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from support import reference
from support.accounts import adds_up, steady
from support.running import Daemon, Event, tree

from sysmonlx.config.reader import read_policy
from sysmonlx.policy import Policy
from sysmonlx.schema.events import EVENT_BY_ID

pytestmark = pytest.mark.kernel

TAGS = ("FileCreate", "FileDelete", "FileDeleteDetected", "NetworkConnect")
ALL = "".join(f'<{tag} onmatch="exclude"/>' for tag in TAGS)

#: Makes and removes files, makes connections: as its own image, and as a copy of it.
ACTIONS = """
import os, socket, sys
os.chdir(sys.argv[1])
for name in ('alpha', 'Beta.CONF', 'gamma.sh', 'deep/one', 'deep/Alpha.log'):
    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o755))
for port in map(int, sys.argv[2:]):
    socket.create_connection(('127.0.0.1', port)).close()
    receiver, sender = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    receiver.bind(('127.0.0.1', port))
    sender.sendto(b'', receiver.getsockname())
    receiver.recv(1)
os.unlink('alpha'); os.unlink('deep/one'); os.unlink(os.path.abspath('gamma.sh'))
"""

FILE_VALUES = [
    *["alpha", "ALPHA", "deep", ".conf", ".sh", "/tmp/", "one", "nowhere", "a;b"],
    *["deep;alpha", ".log", "root", "python", "/usr/bin/python3.11", "-", "true"],
]
NET_VALUES = ["127.0.0.1", "127.", "tcp", "udp", "true", "false", "4", "0", "python"]
FIELDS = {
    "FileCreate": ("TargetFilename", "Image", "User"),
    "FileDelete": ("TargetFilename", "Image", "User", "IsExecutable"),
    "FileDeleteDetected": ("TargetFilename", "Image", "User", "IsExecutable"),
    "NetworkConnect": (
        *("DestinationIp", "DestinationPort", "SourcePort", "Image"),
        *("Protocol", "Initiated", "User"),
    ),
}
CONDITIONS = [
    *["is", "is not", "contains", "contains any", "contains all", "excludes"],
    *["excludes any", "begin with", "end with", "not begin with", "not end with"],
    *["image", "is any", "less than"],
]


def random_rules(chance: Random, ports: Sequence[int]) -> str:
    return "".join(
        random_element(chance, tag, ports)
        for tag in TAGS
        for _ in range(chance.choice((1, 1, 2)))
    )


def random_element(chance: Random, tag: str, ports: Sequence[int]) -> str:
    values = FILE_VALUES
    if tag == "NetworkConnect":
        values = [*NET_VALUES, *map(str, ports)]
    filters = "".join(
        f'<{field} condition="{chance.choice(CONDITIONS)}">{chance.choice(values)}'
        f"</{field}>"
        for field in chance.choices(FIELDS[tag], k=chance.randint(1, 4))
    )
    onmatch = chance.choice(("include", "include", "exclude"))
    relation = chance.choice(("or", "and"))
    return (
        f'<RuleGroup groupRelation="{relation}"><{tag} onmatch="{onmatch}">'
        f"{filters}</{tag}></RuleGroup>"
    )


def policy_of(daemon: Daemon, rules: str) -> Policy:
    daemon.write_config(rules)
    policy, _ = read_policy(daemon.config.read_bytes(), os.fspath(daemon.config))
    return policy


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()


def act(directory: Path, ports: Sequence[int]) -> int:
    """Run the actions in a new directory; return the pid that did them."""
    directory.mkdir()
    command = [sys.executable, "-c", ACTIONS, os.fspath(directory), *map(str, ports)]
    process = subprocess.Popen(command)
    assert process.wait() == 0
    return process.pid


def of_interest(events: Sequence[Event], pid: int) -> list[Event]:
    return [
        event
        for event in tree(events, pid)
        if EVENT_BY_ID[int(event["EventID"])].tag in TAGS
    ]


def wanted_by(policy: Policy, events: Sequence[Event]) -> Counter[tuple[str, ...]]:
    return Counter(
        identity(event)
        for event in events
        if reference.decide(policy.ruleset, int(event["EventID"]), event) is not None
    )


def identity(event: Event) -> tuple[str, ...]:
    names = ("TargetFilename", "Protocol", "DestinationPort", "SourcePort", "Initiated")
    return (event["EventID"], *(event.get(name, "") for name in names))


def test_what_the_kernel_lets_pass_is_what_the_rules_include(
    daemon: Callable[..., Daemon], tmp_path: Path, listeners: list[int]
) -> None:
    chance = Random(20261123)
    everything, filtering = daemon(ALL), daemon(ALL)
    for number in range(35):
        rules = random_rules(chance, listeners)
        policy = policy_of(filtering, rules)
        filtering.request(do="reload", policy=policy.to_json())
        pid = act(tmp_path / f"actions{number}", listeners)
        expected = wanted_by(policy, of_interest(everything.settle(), pid))
        found = Counter(map(identity, of_interest(filtering.settle(), pid)))
        assert found == expected, rules
    records = filtering.stats()["records"]
    discarded = sum(each["filtered_in_kernel"] for each in records.values())
    assert discarded > 100


def test_what_no_rule_wants_does_not_reach_the_daemon(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    started = daemon(
        '<FileCreate onmatch="include"><TargetFilename condition="contains">'
        "/wanted-</TargetFilename></FileCreate>"
    )
    before = started.stats()["records"]["file_create"]
    for number in range(500):
        (tmp_path / f"plain-{number}").touch()
    (tmp_path / "wanted-1").touch()
    started.wait_for(lambda event: "/wanted-1" in event.get("TargetFilename", ""))
    after = started.stats()["records"]["file_create"]
    assert after["filtered_in_kernel"] - before["filtered_in_kernel"] >= 500
    assert started.stats()["events"]["11"]["filtered_in"] == "kernel"


DATAGRAMS = """
import socket, sys
receiver = socket.socket(type=socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', int(sys.argv[1])))
senders = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(40)]
for sender in senders:  # none is closed yet: each has a port of its own
    sender.sendto(b'', receiver.getsockname())
    receiver.recv(1)
"""


@pytest.mark.parametrize(
    "element",
    [
        "<DestinationPort>{port}</DestinationPort>",
        '<Image condition="image">{image}</Image>',
        "<DestinationIp>127.0.0.1</DestinationIp>",
    ],
)
def test_datagrams_that_no_rule_wants_do_not_reach_the_daemon(
    daemon: Callable[..., Daemon], listeners: list[int], element: str
) -> None:
    image = os.path.realpath(sys.executable)
    rule = element.format(port=listeners[0], image=image)
    started = daemon(f'<NetworkConnect onmatch="exclude">{rule}</NetworkConnect>')
    before = started.stats()["records"]["network_connect"]["filtered_in_kernel"]
    command = [sys.executable, "-c", DATAGRAMS, str(listeners[0])]
    subprocess.run(command, check=True)
    events = started.settle()
    after = started.stats()["records"]["network_connect"]["filtered_in_kernel"]
    assert str(listeners[0]) not in [each.get("DestinationPort") for each in events]
    assert after - before >= 80


#: Makes the files that it is told, until "exec FILE": that it does as another image.
MAKER = """
import os
while not (path := input()).startswith('exec '):
    os.close(os.open(path, os.O_CREAT, 0o600))
os.execv('/usr/bin/touch', ('touch', path.removeprefix('exec ')))
"""


def maker_of_files() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKER], stdin=subprocess.PIPE)


def make_file(maker: subprocess.Popen[bytes], path: Path, before: str = "") -> None:
    """Have the maker make a file, and wait until it is there."""
    assert maker.stdin is not None
    maker.stdin.write(os.fsencode(f"{before}{path}\n"))
    maker.stdin.flush()
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_image_that_is_enough_to_exclude_is_judged_anew_when_it_changes(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    rules = (
        '<FileCreate onmatch="exclude"><Image condition="{}">{}</Image></FileCreate>'
    )
    by_python = rules.format("contains", "python")
    started = daemon(by_python)
    maker = maker_of_files()
    try:
        make_file(maker, tmp_path / "first")
        make_file(maker, tmp_path / "again")
        nobody = policy_of(started, rules.format("is", "/nobody"))
        started.request(do="reload", policy=nobody.to_json())
        make_file(maker, tmp_path / "reloaded")
        former = policy_of(started, by_python)
        started.request(do="reload", policy=former.to_json())
        make_file(maker, tmp_path / "as before")
        make_file(maker, tmp_path / "executed", before="exec ")
        made = {event.get("TargetFilename", "") for event in started.settle()}
        ours = {Path(name).name for name in made if name.startswith(f"{tmp_path}/")}
        names = {"first", "again", "reloaded", "as before", "executed"}
        assert ours & names == {"reloaded", "executed"}
    finally:
        maker.kill()
        maker.communicate()


def test_processes_older_than_the_daemon_are_judged_by_their_image(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    old = maker_of_files()
    image = os.path.realpath(f"/proc/{old.pid}/exe")
    started = daemon(
        f'<FileCreate onmatch="exclude"><Image>{image}</Image></FileCreate>'
    )
    try:
        before = started.stats()["records"]["file_create"]["filtered_in_kernel"]
        make_file(old, tmp_path / "by-old")
        subprocess.run(["/usr/bin/touch", tmp_path / "by-other"], check=True)
        events = started.settle()
        names = [event.get("TargetFilename") for event in events]
        assert os.fspath(tmp_path / "by-other") in names
        assert os.fspath(tmp_path / "by-old") not in names
        after = started.stats()["records"]["file_create"]["filtered_in_kernel"]
        assert after > before
    finally:
        old.kill()
        old.communicate()


def test_the_account_of_records_is_exact(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    started = daemon(
        '<FileCreate onmatch="include"><TargetFilename condition="end with">7'
        "</TargetFilename></FileCreate>"
    )
    for number in range(1000):
        (tmp_path / str(number)).touch()
    started.settle()
    steady(started, adds_up)
