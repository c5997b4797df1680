# SPDX-License-Identifier: MIT
"""Event 6: what the record tells, what the file adds, and what is not believed."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.enrichment import encode, make_context, make_maker, named
from support.modules import appended, message, name

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.module import BAD, GOOD, MODULE_HOOKS, NOT_CHECKED, ModuleFile
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.policy import Settings
from sysmonlx.schema.events import DRIVER_LOAD
from sysmonlx.schema.field_values import SIGNATURE_STATES

ROOT = Path(__file__).resolve().parents[3]
SIGNED = b"code" * 100 + appended(message(name(b"Key")))
UNSIGNED = b"code" * 100
HASH = "SHA256=00"
FILE: dict[str, Any] = {"file_inode": 7, "path": b"/a.ko"}
GUESS: dict[str, Any] = {
    **FILE,
    "is_guess": 1,
    "image_bytes": 5000,
    "tail": SIGNED[50:],
}


@dataclass
class Content:
    length: int = 5000
    tail: bytes = SIGNED


def event(layouts: Layouts, **values: Any) -> list[str]:
    """Return the values of event 6 as far as the record tells them."""
    context = make_context(layouts)
    maker = make_maker(layouts, context, "module_load", 6)
    data = encode(layouts, "module_load", **{"tgid": 2, "name": b"a", **values})
    process = context.processes.acting(data)
    made = maker.make(data, process)
    maker.finish(made, data, process)
    return made


def completed(
    layouts: Layouts, content: Content, hashes: str = HASH, **values: Any
) -> dict[str, str]:
    """Return the event when its file was read."""
    made = event(layouts, **values)
    layout = layouts.by_name["module_load"]
    data = encode(layouts, "module_load", name=b"a", **values)
    file = ModuleFile(layout.decode(data), make_context(layouts))
    file.tell(made, hashes, content)
    return named(6, made)


def signature(values: dict[str, str]) -> tuple[str, str, str]:
    return values["Signed"], values["Signature"], values["SignatureStatus"]


@pytest.mark.parametrize(
    ("checked", "tail", "wanted"),
    [
        (GOOD, SIGNED, ("true", "Key", "Valid")),
        (GOOD, UNSIGNED, ("true", "-", "Valid")),
        (GOOD, b"", ("true", "-", "Valid")),
        (BAD, SIGNED, ("true", "Key", "Invalid")),
        (BAD, UNSIGNED, ("false", "-", "Unavailable")),
        (BAD, b"", ("-", "-", "-")),
        (NOT_CHECKED, SIGNED, ("true", "Key", "Unavailable")),
        (NOT_CHECKED, UNSIGNED, ("false", "-", "Unavailable")),
        (NOT_CHECKED, b"", ("-", "-", "Unavailable")),
    ],
)
def test_kernel_says_whether_a_signature_is_good(
    layouts: Layouts, checked: int, tail: bytes, wanted: tuple[str, str, str]
) -> None:
    content = Content(tail=tail)
    values = completed(layouts, content, signature=checked, **FILE)
    assert signature(values) == wanted
    assert values["SignatureStatus"] in SIGNATURE_STATES
    values = named(6, event(layouts, signature=checked, tail=tail))
    assert signature(values) == wanted


def test_file_that_was_read_is_told(layouts: Layouts) -> None:
    values = completed(layouts, Content(), **FILE)
    assert (values["ImageLoaded"], values["Hashes"]) == ("/a.ko", HASH)


def test_file_that_could_not_be_read_has_no_hashes(layouts: Layouts) -> None:
    values = completed(layouts, Content(), "-", signature=BAD, **FILE)
    assert (values["ImageLoaded"], values["Hashes"]) == ("/a.ko", "-")
    assert signature(values) == ("-", "-", "-")


def test_without_algorithms_the_signature_is_told_all_the_same(
    layouts: Layouts,
) -> None:
    values = completed(layouts, Content(), "", signature=BAD, **FILE)
    assert (values["Hashes"], values["Signature"]) == ("-", "Key")


def test_without_a_file_the_name_stands_in_brackets(layouts: Layouts) -> None:
    values = named(6, event(layouts, tail=SIGNED))
    assert (values["ImageLoaded"], values["Hashes"]) == ("[a]", "-")


@pytest.mark.parametrize("tail", [SIGNED, b""], ids=["unpacked", "length alone"])
def test_guess_is_believed_by_what_was_read(layouts: Layouts, tail: bytes) -> None:
    values = completed(layouts, Content(tail=tail), signature=GOOD, **GUESS)
    assert (values["ImageLoaded"], values["Hashes"]) == ("/a.ko", HASH)
    assert signature(values) == ("true", "Key", "Valid")


@pytest.mark.parametrize(
    "content",
    [Content(4999), Content(-1), Content(tail=UNSIGNED), Content(tail=b"x" * 400)],
)
def test_guess_that_does_not_fit_is_dropped(layouts: Layouts, content: Content) -> None:
    values = completed(layouts, content, signature=GOOD, **GUESS)
    assert (values["ImageLoaded"], values["Hashes"]) == ("[a]", "-")
    assert values["Signature"] == "Key"  # of the memory that was given


def test_guess_that_could_not_be_read_is_dropped(layouts: Layouts) -> None:
    values = completed(layouts, Content(), "-", **GUESS)
    assert values["ImageLoaded"] == "[a]"


def test_fields_of_ours_say_who_and_how(layouts: Layouts) -> None:
    names = [field.name for field in DRIVER_LOAD.appended]
    context, layout = make_context(layouts), layouts.by_name["module_load"]
    maker = make_maker(layouts, context, "module_load", 6)
    maker = with_appended(6, maker, names, layout, context)
    data = encode(
        layouts,
        "module_load",
        tgid=2,
        uid=1000,
        name=b"nlmon\xff",
        parameters=b"a=1 b",
        taints=1 << 12 | 1 << 13 | 1 << 2,
    )
    process = context.processes.acting(data)
    values = maker.make(data, process)
    shown = dict(zip(names, values[len(DRIVER_LOAD.fields) :], strict=True))
    assert shown["ModuleName"] == "nlmon\udcff"
    assert (shown["Parameters"], shown["Taint"]) == ("a=1 b", "OE")
    assert (shown["ProcessId"], shown["User"]) == ("2", "user")
    assert shown["ProcessGuid"] == process.guid


def test_hooks_are_there_for_the_event_alone() -> None:
    assert {*MODULE_HOOKS} <= {*hooks_for((6).__eq__, Settings())}
    assert not {*MODULE_HOOKS} & {*hooks_for((1).__eq__, Settings())}


def test_numbers_are_those_of_the_kernel_side() -> None:
    header = (ROOT / "ebpf/record.h").read_text()
    found = re.findall(r"MODULE_SIGNATURE_(\w+),", header)
    assert [found[at] for at in (NOT_CHECKED, BAD, GOOD)] == ["UNKNOWN", "BAD", "GOOD"]


RECORDED = json.loads((ROOT / "tests/data/modules.json").read_text())


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_recorded_loads_are_told_as_modinfo_tells_them(
    case: dict[str, Any], layouts: Layouts
) -> None:
    record = dict(case["record"])
    for key in ("path", "parameters", "name"):
        record[key] = record[key].encode()
    record["tail"] = base64.b64decode(record["tail"])
    made = event(layouts, **record)
    assert signature(named(6, made)) == tuple(case["signature"])
