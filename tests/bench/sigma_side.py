# SPDX-License-Identifier: MIT
"""Rules of Sigma: what they cost an event of a program, a start, and in memory.

All of it is processor time, in pairs that take turns: with the rules, and without.
"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from bench.report import Report, median
from bench.rules_side import rules_path, with_rules
from bench.sensor import Sensor, rules, with_sink
from bench.sink import Sink

from sysmonlx.config import rule_files
from sysmonlx.policy import Policy, RulesChoice, Ruleset, Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.verdicts import Rules, rules_of
from sysmonlx.schema.events import PROCESS_CREATE
from sysmonlx.schema.options import RULE_DEFAULTS

_LENGTHS = (70, 300)
_EVENTS = 2000
_LEAST_TURNS = 5
_WORDS = (
    *("--config", "/etc/service/main.conf", "-o", "/var/lib/service/data", "start"),
    *(
        "--level=3",
        "user@host.example.org",
        "install",
        "-v",
        "name=value",
        "2026-11-29",
    ),
    *("/usr/share/doc/package/changelog", "--no-color", "x86_64-linux-gnu", "build"),
)
_PROGRAMS = ("/usr/bin/python3.11", "/usr/bin/cat", "/usr/sbin/cron", "/usr/bin/git")


def chosen(action: str) -> tuple[Policy, Policy]:
    """Return a policy with the rules, and one without."""
    choice: RulesChoice = (rules_path(), action, *RULE_DEFAULTS[1:])
    settings = Settings(rules=(choice,))
    without = Policy(Ruleset(appended=settings.appended), settings)
    return rule_files.with_packs(without)[0], without


def events(length: int, names: Sequence[str]) -> list[list[str]]:
    """Return events of programs whose command lines are all different."""
    random, made = Random(length), []
    for number in range(_EVENTS):
        image = random.choice(_PROGRAMS)
        words = [image, str(number)]
        while len(line := " ".join(words)) < length:
            words.append(random.choice(_WORDS))
        values = dict.fromkeys(names, "-")
        values |= {
            "CommandLine": line[:length],
            "Image": image,
            "ParentImage": "/usr/bin/dash",
            "ParentCommandLine": "/bin/sh /usr/local/bin/job",
            "CurrentDirectory": "/srv/work",
            "User": "root",
        }
        made.append(list(values.values()))
    return made


def _us_each(decide: Callable[[list[str]], object], found: list[list[str]]) -> float:
    begin_ns = time.thread_time_ns()
    for each in found:
        decide(each)
    return (time.thread_time_ns() - begin_ns) / len(found) / 1000


def _judged(policy: Policy) -> Rules:
    return rules_of(compile_rules(policy.ruleset).plain())


def _asked(seconds: float, policies: tuple[Policy, Policy]) -> list[tuple[str, ...]]:
    """Return rows: what the rules add to an event of a program."""
    fields = PROCESS_CREATE.with_appended(policies[0].ruleset.appended).fields
    names = [each.name for each in fields]
    rows: list[tuple[str, ...]] = []
    for length in _LENGTHS:
        found, new, seen = events(length, names), list[float](), list[float]()
        end = time.monotonic() + seconds / len(_LENGTHS)
        for turn in itertools.count():
            if turn >= _LEAST_TURNS and time.monotonic() > end:
                break
            judges = [_judged(each) for each in policies]
            for of, events_of in ((new, found), (seen, found[:500])):
                with_it, without = (
                    _us_each(each.decide[1], events_of) for each in judges
                )
                of.append(with_it - without)
                if of is new:  # what is kept is of the last of them
                    for each in judges:
                        _us_each(each.decide[1], found[:500])
        rows.append((f"{length} bytes, not seen before", *_told(new)))
        rows.append((f"{length} bytes, seen before", *_told(seen)))
    return rows


def _told(found: Sequence[float]) -> tuple[str, str]:
    return f"{min(found):.2f}", f"{median(found):.2f}"


def _cpu_s() -> float:
    uses = [
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return sum(each.ru_utime + each.ru_stime for each in uses)


def _loaded(policy: Policy) -> tuple[int, float, float]:
    """Return how many rules there are, and the seconds to read and to compile them."""
    begin_s = _cpu_s()
    made, _ = rule_files.with_packs(policy)
    read_s = _cpu_s() - begin_s
    begin_s = _cpu_s()
    compiled = compile_rules(made.ruleset)
    compiled.plain()
    return len(compiled.sigma), read_s, _cpu_s() - begin_s


def _rss_mb(directory: Path, text: str) -> float:
    with Sensor(directory / "rules", text).running() as sensor:
        time.sleep(0.5)
        return sensor.memory_kib()["Rss"] / 1024


def measure(directory: Path, sink: Sink, report: Report, seconds: float) -> None:
    """Add the table."""
    with_them, without = policies = chosen("tag")
    rows = _asked(seconds, policies)
    count, read_s, compile_s = _loaded(without)
    _, stored_s, _ = _loaded_from_pack(directory, with_them)
    rows.append((f"{count} rules read from {rules_path()}, s", f"{read_s:.2f}", ""))
    rows.append(("the same read from a pack, s", f"{stored_s:.2f}", ""))
    rows.append(("and compiled for the service, s", f"{compile_s:.2f}", ""))
    plain = with_sink(rules(("ProcessCreate",)), sink.path)
    sizes = [
        _rss_mb(directory, with_rules(plain)) - _rss_mb(directory, plain)
        for _ in range(3)
    ]
    rows.append(("memory of the service, MB more", *_told(sizes)))
    how = (
        f"{count} rules of Sigma, asked of events of programs, us of processor time "
        "that they add to each; the least of all turns, and the median. Set "
        "`SYSMONLX_SIGMA_RULES` to a folder of rules to measure others than those "
        f"that come along. Python {sys.version_info.major}.{sys.version_info.minor}."
    )
    report.table("Rules of Sigma", how, ("what", "least", "median"), rows)


def _loaded_from_pack(directory: Path, policy: Policy) -> tuple[int, float, float]:
    """Return the same of one pack that has the same rules."""
    path = directory / "bench.sigma.json"
    path.write_text(policy.ruleset.packs[0].text, "utf-8")
    path.chmod(0o644)
    choice: RulesChoice = (str(path), *policy.settings.rules[0][1:])
    settings = Settings(rules=(choice,))
    try:
        return _loaded(Policy(Ruleset(appended=settings.appended), settings))
    finally:
        path.unlink()
