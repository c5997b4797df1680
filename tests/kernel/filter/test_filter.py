# SPDX-License-Identifier: MIT
"""The rules in the kernel against the plain evaluator, event by event."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Thread

import pytest
from hypothesis import given
from support import judge, reference, strategies
from support.judge import Judge, question_of, random_text
from support.strategies import examples, randoms

from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.dns_message import read_message
from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.kernel.fields import EVENTS, FIELDS
from sysmonlx.schema.event_types import AnswerKind
from sysmonlx.schema.events import EVENT_BY_ID

pytestmark = pytest.mark.kernel

DATA = Path(__file__).parents[2] / "data"
VECTORS = json.loads((DATA / "rule_vectors.json").read_text())["cases"]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Judge]:
    loaded = Judge()
    yield loaded
    loaded.close()


def file_create(*items: Filter | Compound, onmatch: str = "include") -> Ruleset:
    element = Element("FileCreate", (11,), onmatch, "or", items)
    return Ruleset("4.90", (element,))


def path(text: str, **other: str) -> dict[str, str]:
    return {"Image": "/bin/x", "User": "root", "TargetFilename": text} | other


def event_text(chance: Random, event_id: int) -> dict[str, str]:
    return {
        name: random_text(chance, place) for name, place in FIELDS[event_id].items()
    }


def includes(ruleset: Ruleset, event_id: int, text: dict[str, str]) -> bool:
    return reference.decide(ruleset, event_id, text) is not None


def filters_of(ruleset: Ruleset) -> Iterator[Filter]:
    for element in ruleset.elements:
        for item in element.items:
            yield from (item,) if isinstance(item, Filter) else item.filters


def asks_strange_order(ruleset: Ruleset) -> bool:
    """Whether a text is compared with one beyond ASCII, which user space alone does."""
    return any(
        item.condition in ("less than", "more than") and not item.value.isascii()
        for item in filters_of(ruleset)
    )


class Score:
    """What the kernel said of all events, and of which it had to be certain."""

    def __init__(self) -> None:
        self.included = 0
        self.excluded = 0

    def compare(self, kernel: Judge, chance: Random) -> None:
        """Judge random events by random rules, told in full and told in part."""
        event_id = chance.choice([*FIELDS])
        fields = chance.sample([*FIELDS[event_id]], k=min(3, len(FIELDS[event_id])))
        ruleset = strategies.ruleset(chance, (event_id,), fields, judge.WORDS)
        kernel.install(compile_rules(ruleset))
        can_know = not asks_strange_order(ruleset)
        for _ in range(12):
            text = event_text(chance, event_id)
            included = includes(ruleset, event_id, text)
            discarded = kernel.discards(event_id, text)
            assert not (included and discarded), (ruleset, text)
            assert included or discarded or not can_know, (ruleset, text)
            self.included += included
            self.excluded += not included and can_know
            hidden = chance.sample(fields, k=chance.randint(1, len(fields)))
            if kernel.discards(event_id, text, keep_back=hidden):
                other = event_text(chance, event_id)
                assert not included, (ruleset, text, hidden)
                text |= {name: other[name] for name in hidden}
                assert not includes(ruleset, event_id, text), (ruleset, text, hidden)


def test_the_kernel_discards_what_is_excluded_and_nothing_else(kernel: Judge) -> None:
    score = Score()

    @given(randoms())
    @examples(150)
    def compare(chance: Random) -> None:
        score.compare(kernel, chance)

    compare()
    assert score.included > 100
    assert score.excluded > 500


@pytest.mark.parametrize("condition", ["less than", "more than"])
def test_order_among_characters_beyond_ascii_is_left_to_user_space(
    kernel: Judge, condition: str
) -> None:
    strange = Filter("TargetFilename", condition, "/é")
    kernel.install(compile_rules(file_create(strange)))
    assert not kernel.discards(11, path("/z"))
    assert not kernel.discards(11, path("/日"))
    assert "cannot be told" in kernel.filter.reasons[11]
    plain = Filter("TargetFilename", condition, "/e")
    kernel.install(compile_rules(file_create(strange, plain, onmatch="exclude")))
    assert kernel.discards(11, path("/b")) is (condition == "less than")
    assert kernel.discards(11, path("/日")) is (condition == "more than")


def test_of_a_path_as_given_only_the_last_name_is_certain(kernel: Judge) -> None:
    @given(randoms())
    @examples(40)
    def compare(chance: Random) -> None:
        fields = ["TargetFilename", "Image"]
        ruleset = strategies.ruleset(chance, (11,), fields, judge.WORDS)
        kernel.install(compile_rules(ruleset))
        for _ in range(8):
            text = event_text(chance, 11)
            if not kernel.discards(11, text, is_given_path=True):
                continue
            name = text["TargetFilename"].rpartition("/")[2]
            for folder in ("", "/etc/cron.d", "/usr/bin/sh", "/A/a.so"):
                text["TargetFilename"] = f"{folder}/{name}"
                assert not includes(ruleset, 11, text), (ruleset, text)

    compare()


def test_the_last_name_of_a_path_as_given_is_enough_for_an_ending(
    kernel: Judge,
) -> None:
    ending = Filter("TargetFilename", "end with", "/authorized_keys")
    kernel.install(compile_rules(file_create(ending)))
    assert kernel.discards(11, path("x/../notes"), is_given_path=True)
    assert not kernel.discards(11, path("x/../authorized_keys"), is_given_path=True)
    inner = Filter("TargetFilename", "contains", ".ssh/")
    kernel.install(compile_rules(file_create(inner)))
    assert not kernel.discards(11, path("x/../notes"), is_given_path=True)


#: How the fields of a recorded FileCreate or NetworkConnect are called in other events.
#: Event 25 has no field that takes any text in the place of TargetFilename.
#: Event 18 has the fields of event 17.
RENAMED: dict[int, dict[str, str]] = {
    3: {},
    7: {"TargetFilename": "ImageLoaded"},
    9: {"TargetFilename": "Device"},
    10: {
        "TargetFilename": "TargetImage",
        "Image": "SourceImage",
        "User": "SourceUser",
    },
    11: {},
    17: {"TargetFilename": "PipeName"},
    23: {},
    26: {},
    100: {"TargetFilename": "BpfProgramName"},
}


def renamed(event_id: int, element: Element) -> Element:
    """Return the rules of one event type as those of another."""

    def other(item: Filter) -> Filter:
        return replace(item, field=RENAMED[event_id].get(item.field, item.field))

    items = tuple(
        other(item)
        if isinstance(item, Filter)
        else replace(item, filters=tuple(map(other, item.filters)))
        for item in element.items
    )
    return replace(element, event_ids=(event_id,), bound_id=event_id, items=items)


@pytest.mark.parametrize("event_id", RENAMED)
def test_recorded_decisions_hold_in_the_kernel(kernel: Judge, event_id: int) -> None:
    tag = "NetworkConnect" if event_id == 3 else "FileCreate"
    excluded = discarded = 0
    for case in VECTORS:
        policy, _ = read_policy(case["config"].encode(), "vector.xml", lax=True)
        elements = [e for e in policy.ruleset.elements if e.tag == tag]
        ruleset = Ruleset("4.90", tuple(renamed(event_id, e) for e in elements))
        events = [event for event in case["events"] if event["event"] == tag]
        users = {event["fields"].get("User", "-") for event in events}
        kernel.install(compile_rules(ruleset), dict(enumerate(users)))
        for event in events:
            text = {
                RENAMED[event_id].get(name, name): event["fields"].get(name, "-")
                for name in ("Image", "User", "TargetFilename", "DestinationPort")
            }
            untold = [name for name in text if not can_tell(event_id, name, text[name])]
            verdict = kernel.discards(event_id, text, keep_back=untold)
            is_included = event["decision"] == "include"
            assert not (verdict and is_included), (case["config"], event)
            if "DestinationPort" not in untold or event_id != 3:
                excluded += not is_included
                discarded += verdict
    assert excluded > (10 if event_id == 3 else 100)
    assert discarded == excluded


def can_tell(event_id: int, name: str, text: str) -> bool:
    """Whether a hook can say so: the recorded ports are any text."""
    place = FIELDS[event_id].get(name)
    return place is not None and (
        place.kind is not AnswerKind.TEXT or is_name(name, text)
    )


def is_name(name: str, text: str) -> bool:
    return text.isdigit() if name == "DestinationPort" else bool(text)


def name_of(question: bytes) -> str:
    """Return how event 22 prints the name of a question."""
    return read_message(bytes.fromhex("000101000001000000000000") + question).name


def random_question(chance: Random) -> bytes:
    """Return what may stand behind the header of a DNS message."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randint(0, 300))
    letters = "aAbB-_.;\\ \0é~!" if chance.random() < 0.4 else "aAbB-_"
    labels = []
    for _ in range(chance.choice((0, 1, 2, 3, 3, 4, 130))):
        size = chance.choice((1, 1, 2, 3, 62, 63))
        label = "".join(chance.choices(letters, k=size)).encode("latin-1")[:63]
        labels.append(bytes([len(label)]) + label)
    whole = b"".join(labels) + chance.choice((b"\0", b"\0", b"\0", b"\xc0\x0c", b"@"))
    whole += b"\0\1\0\1"
    return whole[: chance.choice((len(whole), len(whole), len(whole) - 1, 256, 9))]


def test_names_in_messages_are_judged_as_user_space_prints_them(kernel: Judge) -> None:
    sure = unsure = 0

    @given(randoms())
    @examples(40)
    def compare(chance: Random) -> None:
        nonlocal sure, unsure
        words = ["a", "A", "b.", "-", "_a", ".", "\\", "aa", "~", "ab-_", "x" * 63]
        ruleset = strategies.ruleset(chance, (22,), ["QueryName"], words)
        kernel.install(compile_rules(ruleset))
        for _ in range(12):
            question = random_question(chance)
            name = name_of(question)
            text = {"QueryName": name}
            included = includes(ruleset, 22, text)
            discarded = kernel.discards(22, {}, question=question)
            assert not (included and discarded), (ruleset, question)
            is_plain = name != "-" and "\\" not in name
            assert included or discarded or not is_plain, (ruleset, question)
            sure += discarded
            unsure += not is_plain

    compare()
    assert sure > 50
    assert unsure > 50


@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 127, 252, 253])
def test_names_in_messages_are_read_to_their_end(kernel: Judge, size: int) -> None:
    name = ".".join(["x" * 50] * 5)[:size]
    element = Element(
        "DnsQuery", (22,), "include", "or", (Filter("QueryName", "is", name),)
    )
    kernel.install(compile_rules(Ruleset("4.90", (element,))))
    assert not kernel.discards(22, {"QueryName": name.upper()})
    assert kernel.discards(22, {"QueryName": name[:-1] + "z"})
    assert kernel.filter.place(22) == "kernel"
    assert not kernel.discards(22, {}, question=question_of(name)[:-1])


def test_what_user_space_alone_knows_is_unknown(kernel: Judge) -> None:
    by_time = Filter("UtcTime", "begin with", "2026")
    kernel.install(compile_rules(file_create(by_time)))
    assert not kernel.discards(11, path("/x"))
    assert kernel.filter.reasons[11] == "its rules ask UtcTime"
    both = Compound((by_time, Filter("TargetFilename", "is", "/etc/x")), "and", 1)
    kernel.install(compile_rules(file_create(both)))
    assert kernel.discards(11, path("/x"))
    assert not kernel.discards(11, path("/etc/x"))
    assert kernel.filter.reasons[11] == ""


def test_a_user_is_unknown_until_told(kernel: Judge) -> None:
    kernel.install(compile_rules(file_create(Filter("User", "is", "root"))), {})
    assert not kernel.discards(11, path("/x", User="alice"))
    kernel.filter.add_user(judge.STRANGER, "alice")
    assert kernel.discards(11, path("/x", User="alice"))
    kernel.filter.add_user(judge.STRANGER, "root")
    assert not kernel.discards(11, path("/x", User="alice"))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 63, 64, 255, 256, 4095])
def test_texts_of_any_length_are_read_to_their_end(kernel: Judge, length: int) -> None:
    long = "/" + "x" * (length - 1)
    kernel.install(compile_rules(file_create(Filter("TargetFilename", "is", long))))
    assert not kernel.discards(11, path(long.upper()))
    assert kernel.discards(11, path(long + "j"))
    kernel.install(compile_rules(file_create(Filter("Image", "is", long))))
    assert not kernel.discards(11, path("/", Image=long))
    can_know = len(long) + 1 < kernel.numbers["FILTER_IMAGE_SIZE"]
    assert kernel.discards(11, path("/", Image=long + "j")) is can_know


def test_rules_beyond_the_tables_are_left_to_user_space(kernel: Judge) -> None:
    items = [
        Filter("TargetFilename", "contains", f"{n:x}" * 9)
        for n in range(20_000, 22_000)
    ]
    kernel.install(compile_rules(file_create(*items)))
    assert not kernel.discards(11, path("/x" + f"{21_999:x}" * 9))
    assert not kernel.discards(11, path("/nothing"))
    assert "tables" in kernel.filter.reasons[11]
    assert kernel.filter.reasons[3] == ""


def test_many_rules_are_judged_one_by_one_where_it_matters(kernel: Judge) -> None:
    rules = [
        Compound(
            (
                Filter("Image", "end with", f"/tool{n % 7}"),
                Filter("TargetFilename", "contains", f"/secret{n}/"),
            ),
            "and",
            n,
        )
        for n in range(200)
    ]
    kernel.install(compile_rules(file_create(*rules)))
    for n in range(200):
        text = path(f"/a/secret{n}/b", Image=f"/bin/tool{n % 7}")
        assert not kernel.discards(11, text)
        assert kernel.discards(11, text | {"Image": f"/bin/tool{(n + 1) % 7}"})


def test_no_event_is_judged_by_half_of_each_of_two_rules(kernel: Judge) -> None:
    by_image = compile_rules(file_create(Filter("Image", "is", "/bin/x")))
    by_path = compile_rules(file_create(Filter("TargetFilename", "is", "/y")))
    kernel.install(by_image)
    swaps = 0
    while swaps < 10:  # as many as a busy machine lets there be in one run
        runs = Thread(target=lambda: kernel.discards(11, path("/y"), repeat=2_000_000))
        runs.start()
        while runs.is_alive():
            kernel.install(by_path if swaps % 2 == 0 else by_image)
            swaps += 1
        runs.join()
        assert kernel.discarded() == 0


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Have the kernel refuse to make any more maps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_the_kernel_refuses_is_left_to_user_space(kernel: Judge) -> None:
    by_image = compile_rules(file_create(Filter("Image", "is", "/bin/y")))
    kernel.install(by_image)
    assert kernel.discards(11, path("/y"))
    with without_descriptors():
        kernel.install(compile_rules(file_create(Filter("User", "is", "root"))))
    with pytest.raises(AssertionError, match="no rules"):
        kernel.discards(11, path("/y"))
    assert kernel.filter.place(11) == (
        "user space (the kernel refuses the rules: bpf_map_create: Too many open files)"
    )
    assert len(kernel.filter.remarks()) == 1  # no other event could be reported
    kernel.filter.add_user(judge.STRANGER, "alice")  # and nothing happens
    kernel.install(by_image)
    assert kernel.discards(11, path("/y"))
    assert kernel.filter.remarks() == []


def test_a_user_that_finds_no_room_leaves_all_to_user_space(kernel: Judge) -> None:
    by_user = compile_rules(file_create(Filter("User", "is", "root")))
    kernel.install(by_user, {0: "root"})
    room = kernel.numbers["FILTER_USERS"] - 1
    others = [bytes(8) + uid.to_bytes(8, sys.byteorder) for uid in range(room)]
    for key in others:
        kernel.users.update(key, bytes(8))
    kernel.filter.add_user(judge.STRANGER, "alice")
    assert kernel.filter.place(11).startswith("user space (the kernel refuses a user:")
    kernel.install(by_user, {0: "root", judge.STRANGER: "alice"})
    assert kernel.filter.place(11).startswith("user space (the kernel refuses the rul")
    for key in others:
        kernel.users.delete(key)
    kernel.install(by_user, {0: "root", judge.STRANGER: "alice"})
    assert kernel.discards(11, path("/y", User="alice"))
    assert kernel.filter.place(11) == "kernel"


def test_without_rules_in_the_kernel_nothing_is_discarded(kernel: Judge) -> None:
    kernel.install(compile_rules(Ruleset()))
    assert kernel.discards(11, path("/x"))
    kernel.filter.remove("switched off")
    with pytest.raises(AssertionError, match="no rules"):
        kernel.discards(11, path("/x"))
    assert set(kernel.filter.reasons.values()) == {"switched off"}


def test_rules_that_report_all_take_those_before_them_out(kernel: Judge) -> None:
    kernel.install(compile_rules(Ruleset()))
    assert kernel.discards(11, path("/x"))
    everything = [
        Element(str(EVENT_BY_ID[each].tag), (each,), "exclude", "or", ())
        for each in EVENTS
    ]
    kernel.install(compile_rules(Ruleset("4.90", tuple(everything))))
    assert set(kernel.filter.reasons.values()) == {"all of them are reported"}
    with pytest.raises(AssertionError, match="no rules"):
        kernel.discards(11, path("/x"))
    kernel.install(compile_rules(Ruleset()))
    assert kernel.discards(11, path("/x"))


def test_an_event_that_no_rule_can_report_is_always_discarded(kernel: Judge) -> None:
    kernel.install(compile_rules(file_create(onmatch="exclude")))
    assert not kernel.discards(11, path("/x"))
    assert kernel.filter.reasons[11] == "all of them are reported"
    assert kernel.discards(23, path("/x"))
