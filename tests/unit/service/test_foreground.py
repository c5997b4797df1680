# SPDX-License-Identifier: MIT
"""What is run at a start: from whatever is stored, and when the first try fails."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sysmonlx.config.child import EMPTY, read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.stored_policy import policy_of as policy_from
from sysmonlx.errors import CaptureError
from sysmonlx.policy import FORM, Policy, Settings, SinkChoice
from sysmonlx.service import configuration, foreground
from sysmonlx.service.configuration import ChosenPolicy, stored_policy
from sysmonlx.service.installed import Paths, command_line_bytes
from sysmonlx.service.wiring import Options

CONFIG = b"""<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="include"><Image condition="end with">/true</Image>
</ProcessCreate></EventFiltering></Sysmon>"""
OTHER = CONFIG.replace(b"/true", b"/false")
OLD = Path(__file__).resolve().parents[2] / "data" / "version-0.1.0"


def policy_of(data: bytes) -> Policy:
    policy = read_data(data, "a.xml", CommandLineOptions()).policy
    assert policy is not None
    return policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of(CONFIG)


@pytest.fixture
def paths(tmp_path: Path, policy: Policy) -> Paths:
    """The places of an installation with a good configuration."""
    before = os.umask(0o077)
    made = Paths(tmp_path)
    made.create_private()
    os.umask(before)
    made.config_file.write_bytes(CONFIG)
    made.policy_file.write_text(policy.to_json())
    made.command_line_file.write_bytes(command_line_bytes(("sysmonlx", "-i", "a.xml")))
    return made


def be(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def be_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def be_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def be_gone(path: Path) -> None:
    path.unlink()


def be_huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


DAMAGES = [
    *(be(b""), be(b"[" * 200_000), be(b"{}"), be(b"<Sysmon")),
    *(be(os.urandom(1000)), be_a_directory, be_a_fifo, be_gone, be_huge),
    be(b"<Sysmon><\xeb>"),  # an error quotes what is no UTF-8
]


def test_stored_policy_of_the_installed_file_is_run(
    paths: Paths, policy: Policy
) -> None:
    assert stored_policy(paths) == ChosenPolicy(policy)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_policy_is_made_anew_from_the_file(
    paths: Paths, policy: Policy, damage: Callable[[Path], object]
) -> None:
    damage(paths.policy_file)
    found = stored_policy(paths)
    assert found.refused == ""
    assert found.policy.ruleset == policy.ruleset
    if paths.policy_file.is_file():
        assert stored_policy(paths) == found


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_leaves_the_policy_before_it_in_force(
    paths: Paths,
    policy: Policy,
    damage: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(paths.config_file)
    found = stored_policy(paths)
    assert found.policy == policy
    assert "\n" not in found.refused
    if found.refused:  # a file that cannot be read changes nothing
        assert found.refused.endswith("the configuration before this one is in force")
        assert capsys.readouterr().err == f"{found.refused}\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_file_and_policy_the_built_in_rules_are_run_and_told(
    paths: Paths, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(paths.config_file)
    damage(paths.policy_file)
    found = stored_policy(paths)
    assert found.policy == Policy()
    assert found.refused.endswith("; the built-in rules are in force")
    assert str(paths.config_file) in found.refused
    assert "  " not in found.refused
    assert capsys.readouterr().err == f"{found.refused}\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_command_line_gives_no_switches(
    paths: Paths, policy: Policy, damage: Callable[[Path], object]
) -> None:
    damage(paths.command_line_file)
    paths.policy_file.unlink()
    assert stored_policy(paths).policy.ruleset == policy.ruleset


def test_good_file_ends_the_built_in_rules(paths: Paths) -> None:
    paths.config_file.write_bytes(b"<Sysmon")
    paths.policy_file.unlink()
    assert stored_policy(paths).policy == Policy()
    paths.config_file.write_bytes(OTHER)
    found = stored_policy(paths)
    assert (found.refused, found.policy.ruleset) == ("", policy_of(OTHER).ruleset)


def test_disk_that_takes_nothing_hinders_no_start(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.policy_file.unlink()
    paths.policy_file.mkdir()
    assert stored_policy(paths).policy.ruleset == policy_of(CONFIG).ruleset


def test_reader_that_dies_leaves_what_was(
    paths: Paths, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    paths.config_file.write_bytes(OTHER)
    monkeypatch.setattr(os, "fork", fail)
    found = stored_policy(paths)
    assert found.policy == policy
    assert "Resource temporarily unavailable" in found.refused


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.integers(0, 1 << 31))
def test_mutated_policy_never_hinders_a_start(
    paths: Paths, policy: Policy, seed: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(policy.to_json().encode())
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    paths.config_file.unlink(missing_ok=True)
    paths.policy_file.write_bytes(data)
    found = stored_policy(paths)
    assert policy_from(found.policy.to_json()) == found.policy


# --- another version


def old_installation(paths: Paths) -> None:
    for name, path in (
        ("config.xml", paths.config_file),
        ("policy.json", paths.policy_file),
        ("command_line", paths.command_line_file),
    ):
        shutil.copyfile(OLD / name, path)


def test_policy_of_version_0_1_0_is_read(paths: Paths) -> None:
    old_installation(paths)
    stored = configuration.stored_form(paths)
    assert stored is not None
    assert stored.form != FORM
    assert [each.tag for each in stored.ruleset.elements] == [
        *("ProcessCreate", "NetworkConnect", "ProcessTerminate", "FileDelete")
    ]
    assert stored.settings == Settings(
        hash_algorithms=("MD5", "SHA256"),
        field_sizes=(("CommandLine", 2000), ("Image", 300)),
        field_sizes_text="CommandLine:2000,Image:300",
        sinks=(
            SinkChoice("file", "json", "/var/log/sysmon.json"),
            SinkChoice("syslog"),
        ),
        line_limit_bytes=8000,
        ring_size_bytes=4 << 20,
        spool_limit_bytes=4 << 20,
        hash_wait_ms=1500,
        hash_size_limit_bytes=64 << 20,
        udp_interval_s=600,
        failed_connects=True,
        truncation_as_create=True,
        budget=0,  # it had another name and meaning: the file is read again
        metrics_file="/run/sysmonlx-metrics.prom",
    )


def test_policy_of_version_0_1_0_is_made_anew_and_keeps_its_name(
    paths: Paths,
) -> None:
    old_installation(paths)
    found = stored_policy(paths)
    assert found.refused == ""
    assert found.policy.form == FORM
    assert found.policy.source == "rules.xml"
    first, place, *_ = found.warnings.split("; ")
    assert first == "Warning: Budget is no share of a core any more: 20 counts as 1"
    assert place.startswith(f"{paths.config_file}:27:5: 1 lets a flood be sampled")
    assert "validated" not in found.warnings
    fresh = policy_of((OLD / "config.xml").read_bytes())
    assert found.policy == replace(fresh, source="rules.xml")
    assert stored_policy(paths) == found
    assert stored_policy(paths).warnings == ""  # told once


def test_default_of_an_older_version_is_no_setting(paths: Paths) -> None:
    """What was not configured has the default of this version, not of that."""
    old = replace(Policy(), form=1, settings=Settings(budget=77))
    paths.config_file.write_bytes(EMPTY)
    paths.policy_file.write_text(old.to_json())
    assert stored_policy(paths) == ChosenPolicy(Policy())


def test_policy_of_another_version_serves_while_its_file_is_refused(
    paths: Paths,
) -> None:
    old_installation(paths)
    paths.config_file.write_bytes(b"<Sysmon")
    found = stored_policy(paths)
    assert found.policy == configuration.stored_form(paths)
    assert found.refused


# --- a start that fails


class FakeDaemon:
    """A daemon that starts when its policy and options please."""

    fails: Callable[[Policy, Options], Exception | None]
    tries = 0

    def __init__(self, policy: Policy, options: Options) -> None:
        self.policy, self.options = policy, options

    @classmethod
    def start(cls, policy: Policy, options: Options) -> FakeDaemon:
        cls.tries += 1
        error = cls.fails(policy, options)
        if error is not None:
            raise error
        return cls(policy, options)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeDaemon]:
    class Fake(FakeDaemon):
        """A class of its own counts its own tries."""

    monkeypatch.setattr(foreground, "start", Fake.start)
    return Fake


SINKS = (SinkChoice("file", "json", "/run/x"),)
CHOSEN = Policy(source="a.xml", settings=Settings(sinks=SINKS, ring_size_bytes=1 << 28))


def started(fake: type[FakeDaemon], fails: Any, **options: Any) -> FakeDaemon:
    fake.fails = staticmethod(fails)
    made: Any = foreground._started(CHOSEN, Options(Paths(Path("/x")), **options))
    return made  # type: ignore[no-any-return]  # it is the fake


def test_start_that_works_is_the_only_one(fake: type[FakeDaemon]) -> None:
    daemon = started(fake, lambda policy, options: None)
    assert (daemon.policy, daemon.options.refused) == (CHOSEN, "")


def test_settings_that_cannot_be_had_are_left_and_told(fake: type[FakeDaemon]) -> None:
    def fails(policy: Policy, options: Options) -> Exception | None:
        return MemoryError() if policy.settings.ring_size_bytes > 1 << 27 else None

    daemon = started(fake, fails)
    assert daemon.policy == replace(CHOSEN, settings=Settings(sinks=SINKS))
    assert daemon.options.refused == (
        "The start failed: MemoryError; the default settings are in force"
    )
    assert fake.tries == 2


def test_rules_that_cannot_be_run_are_left_and_told(fake: type[FakeDaemon]) -> None:
    def fails(policy: Policy, options: Options) -> Exception | None:
        return ValueError("a line needs 2048 bytes") if policy.source else None

    daemon = started(fake, fails)
    assert daemon.policy == Policy()
    assert daemon.options.refused == (
        "The start failed: ValueError: a line needs 2048 bytes;"
        " the built-in rules are in force"
    )


def test_types_that_cannot_be_read_are_left(fake: type[FakeDaemon]) -> None:
    def fails(policy: Policy, options: Options) -> Exception | None:
        return CaptureError("no BTF") if options.btf_path else None

    assert started(fake, fails, btf_path="/nowhere").options.btf_path == ""


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("no BTF"),
        OSError(11, "Resource temporarily unavailable"),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
def test_first_reason_is_raised_when_nothing_works(
    fake: type[FakeDaemon], error: Exception
) -> None:
    errors = [error, CaptureError("another"), CaptureError("a third")]
    tries = iter(errors)
    with pytest.raises(type(error)) as caught:
        started(fake, lambda policy, options: next(tries))
    assert caught.value is error
    assert fake.tries == 3


def test_foreground_run_tries_once(fake: type[FakeDaemon]) -> None:
    with pytest.raises(CaptureError):
        started(fake, lambda *_: CaptureError("no"), keeps_state=False)
    assert fake.tries == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CaptureError("no BTF"), "no BTF"),
        (ValueError("too short"), "ValueError: too short"),
        (
            RuntimeError("can't start new thread"),
            "RuntimeError: can't start new thread",
        ),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_reason_of_any_failure_is_said_to_the_starter(
    fake: type[FakeDaemon],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    text: str,
    tmp_path: Path,
) -> None:
    fake.fails = staticmethod(lambda *_: error)
    status = foreground._run_alone(CHOSEN, Options(Paths(tmp_path)), None)
    assert status == 12
    assert capsys.readouterr().err == f"Telemetry failed to start: {text}\n"


def test_failure_that_cannot_be_reported_still_closes() -> None:
    class Broken:
        closed = 0

        def fail(self, reason: str) -> None:
            raise MemoryError

        def close(self) -> None:
            self.closed += 1
            raise OSError

    daemon: Any = Broken()
    foreground._report_failure(daemon, RuntimeError("on purpose"))
    assert daemon.closed == 1
