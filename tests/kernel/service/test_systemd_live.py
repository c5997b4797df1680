# SPDX-License-Identifier: MIT
"""The service under a systemd that runs, with the confinement of its unit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.booted import SYSTEMD, Booted
from support.running import REPOSITORY, wait_until

pytestmark = pytest.mark.kernel

UNIT = "sysmonlx.service"
CONFIG = "/etc/sysmonlx/config.xml"
CREATES = (
    '<FileCreate onmatch="include"><TargetFilename>{}</TargetFilename></FileCreate>'
)


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory,
    require: Callable[[str, bool, str], None],
) -> Iterator[Booted]:
    require("systemd", SYSTEMD.exists(), f"needs {SYSTEMD}")
    booted = Booted(tmp_path_factory.mktemp("booted"))
    try:
        booted.wait_until_up()
        yield booted
    finally:
        booted.end()


@pytest.fixture
def installed(machine: Booted) -> Iterator[Booted]:
    """The machine with the service installed and running, its journal empty."""
    machine.must("journalctl", "--rotate", "--vacuum-time=1us")
    configure(machine, "/tmp/test.xml")
    machine.must("sysmonlx", "-accepteula", "-i", "/tmp/test.xml")
    yield machine
    machine.must("sysmonlx", "-u", "force")


def configure(machine: Booted, path: str, rules: str = "", settings: str = "") -> None:
    """Write a configuration in the machine: all processes, and these rules."""
    text = (
        '<Sysmon schemaversion="4.90"><HashAlgorithms>SHA256</HashAlgorithms>'
        '<EventFiltering><ProcessCreate onmatch="exclude"/>'
        f"{rules}</EventFiltering><Settings xmlns="
        f'"urn:sysmonlx:settings">{settings}</Settings></Sysmon>'
    )
    machine.must("sh", "-c", 'echo "$1" >"$0"', path, text)


def main_pid(machine: Booted) -> int:
    shown = machine.must("systemctl", "show", "--property=MainPID", "--value", UNIT)
    return int(shown)


def is_active(machine: Booted) -> bool:
    return machine.call("systemctl", "is-active", UNIT).stdout == "active\n"


def test_install_returns_when_the_service_captures(installed: Booted) -> None:
    assert is_active(installed)
    assert installed.must("systemctl", "is-enabled", UNIT) == "enabled\n"
    marker = uuid.uuid4().hex
    installed.must("true", marker)
    event = installed.wait_for(1, CommandLine=f"true {marker}")
    assert event["Image"] == "/usr/bin/true"
    assert event["User"] == "root"
    digest = hashlib.sha256(Path("/usr/bin/true").read_bytes()).hexdigest()
    assert event["Hashes"] == f"SHA256={digest}"
    assert installed.must("systemctl", "is-system-running") == "running\n"


def test_journal_takes_more_events_than_its_limit(installed: Booted) -> None:
    marker = uuid.uuid4().hex
    loop = 'for n in $(seq 200); do /bin/true "$0 $n"; done'
    installed.must("sh", "-c", loop, marker)
    wanted = {f"/bin/true {marker} {number}" for number in range(1, 201)}
    wait_until(
        lambda: wanted <= {each.get("CommandLine", "") for each in installed.events()}
    )


def test_long_event_is_whole_in_the_journal(installed: Booted) -> None:
    configure(installed, "/tmp/long.xml", settings="<LineLimit>64K</LineLimit>")
    installed.must("sysmonlx", "-c", "/tmp/long.xml")
    marker = uuid.uuid4().hex + "x" * 12_000
    installed.must("true", marker)
    installed.wait_for(1, CommandLine=f"true {marker}")


CONNECT = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
print(server.getsockname()[1])
one = socket.socket(type=socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 0))
one.sendto(b"", one.getsockname())
print(one.getsockname()[1])
"""


def test_confined_service_captures_what_it_is_told_to_later(installed: Booted) -> None:
    rules = '<NetworkConnect onmatch="exclude"/>' + CREATES.format("/tmp/wanted")
    configure(installed, "/tmp/more.xml", rules)
    installed.must("sysmonlx", "-c", "/tmp/more.xml")
    installed.must("sh", "-c", "echo >/tmp/unwanted; echo >/tmp/wanted")
    tcp, udp = installed.must("python3", "-c", CONNECT).split()
    installed.wait_for(3, Protocol="tcp", DestinationPort=tcp, Initiated="true")
    installed.wait_for(3, Protocol="udp", DestinationPort=udp, Initiated="true")
    installed.wait_for(11, TargetFilename="/tmp/wanted")
    created = [event for event in installed.events() if event["EventID"] == "11"]
    assert [event["TargetFilename"] for event in created] == ["/tmp/wanted"]


#: Looks for control groups by their numbers, and prints what it finds of its own.
FIND_GROUP = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sysmonlx.host import control_groups
root, mount = control_groups.mounts()[0]
for directory, _, _ in os.walk(mount):
    path = control_groups._path_by_handle(os.stat(directory).st_ino, Path("/proc"))
    assert path == directory.removeprefix(mount) or path == b"/", (directory, path)
"""


def test_confinement_lets_control_groups_be_found(installed: Booted) -> None:
    """With each line of the unit that confines it, in a service of its own."""
    unit = installed.must("systemctl", "cat", UNIT).splitlines()
    keys = r"(System|Capab|Protect|Private|Restrict|NoNew|Lock|Memory)\w+="
    confined = [line for line in unit if re.match(keys, line)]
    assert len(confined) > 15
    without = [line for line in confined if "open_by_handle_at" not in line]
    assert len(without) == len(confined) - 1
    installed.must("sh", "-c", 'echo "$1" >"$0"', "/tmp/find.py", FIND_GROUP)
    for lines, works in ((confined, True), (without, False)):
        command = f"ExecStart={sys.executable} /tmp/find.py {REPOSITORY}"
        text = "\n".join(["[Service]", "Type=oneshot", command, *lines])
        place = "/run/systemd/system/finder.service"
        installed.must("sh", "-c", 'echo "$1" >"$0"', place, text)
        installed.must("systemctl", "daemon-reload")
        result = installed.call("systemctl", "start", "finder")
        assert (result.returncode == 0) == works, result.stderr
    installed.must("rm", place)
    installed.call("systemctl", "reset-failed", "finder")
    installed.must("systemctl", "daemon-reload")


def test_killed_service_is_started_again_and_numbers_go_on(installed: Booted) -> None:
    pid = main_pid(installed)
    installed.must("kill", "-KILL", str(pid))
    wait_until(lambda: is_active(installed) and main_pid(installed) not in (0, pid))
    marker = uuid.uuid4().hex
    installed.must("true", marker)
    installed.wait_for(1, CommandLine=f"true {marker}")
    numbers = [int(event["EventRecordID"]) for event in installed.events()]
    assert numbers == sorted(set(numbers))


def test_reload_reads_the_edited_configuration_or_keeps_the_last(
    installed: Booted,
) -> None:
    pid = main_pid(installed)
    configure(installed, CONFIG, CREATES.format("/tmp/edited"))
    installed.must("systemctl", "reload", UNIT)
    installed.wait_for(16, Configuration=CONFIG)
    installed.must("sh", "-c", "echo >/tmp/edited")
    installed.wait_for(11, TargetFilename="/tmp/edited")
    installed.must("sh", "-c", f"echo '<Sysmon' >{CONFIG}")
    assert installed.call("systemctl", "reload", UNIT).returncode != 0
    wait_until(lambda: any(CONFIG in line for line in installed.journal("sysmonlx")))
    assert main_pid(installed) == pid
    installed.must("sh", "-c", "rm /tmp/edited; echo >/tmp/edited")
    wait_until(
        lambda: [each["EventID"] for each in installed.events()].count("11") == 2
    )


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("WorkingDirectory=/nowhere", "(exit status 200: see systemd.exec(5))"),
        ("CapabilityBoundingSet=", "capabilities are missing, BPF, PERFMON"),
    ],
)
def test_service_that_cannot_start_is_refused_with_the_reason(
    machine: Booted, setting: str, reason: str
) -> None:
    directory = f"/etc/systemd/system/{UNIT}.d"
    machine.must("mkdir", "-p", directory)
    text = f"[Service]\n{setting}\n"
    machine.must("sh", "-c", f'printf "$0" >{directory}/test.conf', text)
    result = machine.call("sysmonlx", "-nologo", "-accepteula", "-i")
    machine.must("rm", "-r", directory)
    machine.must("systemctl", "daemon-reload")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: systemctl restart {UNIT}: Job for {UNIT}")
    assert reason in result.stderr
    assert machine.call("systemctl", "cat", UNIT).returncode != 0
    assert machine.call("test", "-e", CONFIG).returncode != 0


def shown(machine: Booted, name: str) -> str:
    return machine.must("systemctl", "show", f"--property={name}", "--value", UNIT)


def started_anew(machine: Booted, pid: int) -> None:
    """Wait until another process than `pid` captures."""
    wait_until(lambda: is_active(machine) and main_pid(machine) not in (0, pid))


@contextmanager
def drop_in(machine: Booted, section: str) -> Iterator[None]:
    """Have a drop-in of the unit for as long as the context lasts."""
    directory = f"/etc/systemd/system/{UNIT}.d"
    machine.must("mkdir", "-p", directory)
    machine.must("sh", "-c", f'printf "$0" >{directory}/test.conf', section)
    machine.must("systemctl", "daemon-reload")
    try:
        yield
    finally:
        machine.must("rm", "-r", directory)
        machine.must("systemctl", "daemon-reload")


def test_any_number_of_starts_in_any_order_leaves_it_running(
    installed: Booted,
) -> None:
    for what in ("install", "restart", "kill", "install", "restart", "kill", "install"):
        pid = main_pid(installed)
        if what == "install":
            installed.must("sysmonlx", "-i", "/tmp/test.xml")
            assert is_active(installed)
        elif what == "restart":
            installed.must("systemctl", "restart", UNIT)
        else:
            installed.must("kill", "-KILL", str(pid))
            started_anew(installed, pid)
        assert main_pid(installed) not in (0, pid)


def test_failed_service_is_installed_again(installed: Booted) -> None:
    """The limit is an administrator's: the unit has none."""
    limit = "[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=1\n"
    with drop_in(installed, limit + "[Service]\nRestart=no\n"):
        installed.must("kill", "-KILL", str(main_pid(installed)))
        wait_until(lambda: shown(installed, "ActiveState") == "failed\n")
        told = installed.call("sysmonlx", "-nologo", "-c", "/tmp/test.xml").stdout
        assert told.splitlines()[-1] == (
            "Error: The service has failed (ended by signal 9): -i starts it again"
        )
        for _ in range(3):
            installed.must("sysmonlx", "-i", "/tmp/test.xml")
            assert is_active(installed)


def test_main_loop_that_hangs_is_ended_and_one_that_runs_is_not(
    installed: Booted,
) -> None:
    with drop_in(installed, "[Service]\nWatchdogSec=2\n"):
        installed.must("systemctl", "restart", UNIT)
        pid = main_pid(installed)
        stamp = shown(installed, "WatchdogTimestampMonotonic")
        for _ in range(3):  # it tells again and again that it lives
            before = stamp
            wait_until(
                lambda: shown(installed, "WatchdogTimestampMonotonic") != before  # noqa: B023 - used at once
            )
            stamp = shown(installed, "WatchdogTimestampMonotonic")
        assert (main_pid(installed), shown(installed, "NRestarts")) == (pid, "0\n")
        installed.must("kill", "-STOP", str(pid))
        started_anew(installed, pid)


def test_watchdog_of_the_unit_ends_a_hang_within_a_minute(installed: Booted) -> None:
    limits = [
        shown(installed, name).strip()
        for name in ("WatchdogUSec", "WatchdogSignal", "RestartUSec", "Restart")
    ]
    assert limits == ["30s", "9", "2s", "always"]


#: Busy sessions, each with a share of its own by autogroup(7): sched(7).
SESSIONS_PER_CPU = 4
BUSY = "while :; do :; done"
#: More records than the daemon can read while it is measured.
FILES = 30_000
MAKE = (
    f"for n in range({FILES}): open('/tmp/share', 'w').close(); os.unlink('/tmp/share')"
)


def test_floods_of_others_leave_it_its_share(installed: Booted) -> None:
    """As far as this machine, which may be a container, lets systemd give it."""
    assert shown(installed, "ControlGroup") == f"/{UNIT}\n"
    assert shown(installed, "OOMScoreAdjust") == "-500\n"
    assert shown(installed, "CPUWeight") == "1000\n"
    proc = f"/proc/{main_pid(installed)}"
    lines = installed.must("cat", f"{proc}/limits").splitlines()
    limits = {line[:25].strip(): line[25:].split()[0] for line in lines}
    assert limits["Max open files"] == "16384"
    if Path("/proc/self/autogroup").exists() and limits["Max nice priority"] == "30":
        assert installed.must("cat", f"{proc}/autogroup").split()[-1] == "-10"
        assert share_of_a_processor(installed) > 0.5  # 0.2 and less of equals


def share_of_a_processor(machine: Booted) -> float:
    """Let the daemon catch up while others take all processors.

    Return how much of the time in which its main thread can work it does work.
    """
    configure(machine, "/tmp/share.xml", CREATES.format("/tmp/share"))
    machine.must("sysmonlx", "-c", "/tmp/share.xml")
    pid = str(main_pid(machine))
    machine.must("kill", "-STOP", pid)
    machine.must("/usr/bin/python3", "-c", f"import os\n{MAKE}")
    with all_busy():
        before = run_and_wait_ns(machine, pid)
        machine.must("kill", "-CONT", pid)
        time.sleep(1)
        after = run_and_wait_ns(machine, pid)
    run, wait = (late - early for late, early in zip(after, before, strict=True))
    assert run > 0.2e9, "it had nothing to do"
    return run / (run + wait)


def run_and_wait_ns(machine: Booted, pid: str) -> list[int]:
    """Return how long a thread ran, and waited for a processor to run on."""
    text = machine.must("cat", f"/proc/{pid}/schedstat")
    return [int(number) for number in text.split()[:2]]


@contextmanager
def all_busy() -> Iterator[None]:
    """Keep all processors busy from many sessions."""
    busy = [
        subprocess.Popen(["/bin/sh", "-c", BUSY], start_new_session=True)
        for _ in range(SESSIONS_PER_CPU * len(os.sched_getaffinity(0)))
    ]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


#: As a member of the group: connect, run a program, print the line that tells it.
READER = """\
import os, socket, subprocess, sys
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(12345)
reader = socket.socket(socket.AF_UNIX)
reader.settimeout(20)
reader.connect(sys.argv[1])
subprocess.run(["/bin/true", sys.argv[3]])
lines = reader.makefile("rb")
print(next(line for line in lines if sys.argv[3].encode() in line).decode())
"""


def test_group_reads_socket_and_file_after_an_update_of_the_confined_service(
    installed: Booted,
) -> None:
    place, marker = "/run/sysmonlx-events/events", uuid.uuid4().hex
    file = "/var/log/sysmon-test.json"
    sinks = (
        '<Sink kind="syslog"/><Sink kind="socket" form="json" group="adm"/>'
        f'<Sink kind="file" size="64K" every="1d" compress="gzip" group="adm">{file}'
        "</Sink>"
    )
    configure(installed, "/tmp/sinks.xml", settings=sinks)
    result = installed.call("sysmonlx", "-nologo", "-c", "/tmp/sinks.xml")
    assert result.returncode == 0, result.stderr
    assert "nobody reads" in installed.must("sysmonlx", "-nologo", "-stats")
    command = (sys.executable, "-c", READER, place)
    line = installed.must(*command, "4", marker)
    assert json.loads(line)["Event"]["System"]["EventID"] == 1
    assert installed.call(*command, "5", marker).returncode
    modes = installed.must("stat", "-c", "%a %U", Path(place).parent, place, file)
    assert modes == "750 root\n660 root\n640 root\n"
    long = "x" * 30_000
    for _ in range(4):
        installed.must("/bin/true", long)
    packed = f"ls {file}-*.gz"
    wait_until(lambda: installed.call("sh", "-c", packed).returncode == 0)
    installed.must("sh", "-c", f"rm -f {file}*")  # it is being packed


def test_failed_installation_leaves_what_ran_before_unit_and_all(
    installed: Booted,
) -> None:
    unit = f"/etc/systemd/system/{UNIT}"
    installed.must("sh", "-c", f"echo '# as before' >>{unit}")
    installed.must("systemctl", "daemon-reload")
    installed.must("systemctl", "disable", UNIT)
    before = installed.must("cat", unit, CONFIG)
    installed.must("sh", "-c", "echo no BTF >/tmp/no.btf")
    result = installed.call("sysmonlx", "-nologo", "-i", "-btf", "/tmp/no.btf")
    assert result.returncode == 12
    assert "(what ran before runs again)" in result.stderr
    assert is_active(installed)
    assert installed.must("cat", unit, CONFIG) == before
    assert installed.call("systemctl", "is-enabled", UNIT).stdout == "disabled\n"
    marker = uuid.uuid4().hex
    installed.must("true", marker)
    installed.wait_for(1, CommandLine=f"true {marker}")


def test_what_cannot_start_again_is_told_and_tried_for_ever(installed: Booted) -> None:
    with drop_in(installed, "[Service]\nCapabilityBoundingSet=\n"):
        result = installed.call("sysmonlx", "-nologo", "-i", "/tmp/test.xml")
        assert result.returncode == 1
        assert "what was before cannot be had again" in result.stderr
        assert "The service is being started" in result.stderr
    started_anew(installed, 0)


def test_without_anything_usable_the_built_in_rules_run_and_say_so(
    installed: Booted,
) -> None:
    for path in (CONFIG, "/var/lib/sysmonlx/policy.json"):
        installed.must("sh", "-c", 'echo "[[[[" >"$0"', path)
    installed.must("systemctl", "restart", UNIT)
    text = "the built-in rules are in force"
    wait_until(lambda: text in shown(installed, "StatusText"))
    event = installed.wait_for(255, ID="Configuration")
    assert event["Description"].endswith(text)
    configure(installed, CONFIG)
    installed.must("systemctl", "reload", UNIT)
    wait_until(lambda: shown(installed, "StatusText") == f"{CONFIG} (1 event rules)\n")


def test_uninstall_leaves_no_unit(installed: Booted) -> None:
    assert "Removed /etc/systemd/system/sysmonlx.service" in (
        installed.must("sysmonlx", "-u")
    )
    state = installed.call("systemctl", "is-enabled", UNIT)
    assert state.returncode != 0
    assert not main_pid(installed)
    assert installed.wait_for(4, State="Stopped") == installed.events()[-1]
