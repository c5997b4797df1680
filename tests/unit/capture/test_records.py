# SPDX-License-Identifier: MIT
from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest
from hypothesis import given
from support.strategies import examples, randoms, some_bytes

from sysmonlx.capture.records import Layout, Layouts
from sysmonlx.errors import LayoutError

NAMES = ("process_create", "process_fork", "process_terminate", "network_connect")


def test_every_record_has_a_number_and_a_layout(layouts: Layouts) -> None:
    assert set(NAMES) < layouts.by_name.keys()
    assert layouts.number.keys() == layouts.by_name.keys()
    assert {name: number for number, name in layouts.name.items()} == layouts.number
    assert all(0 < number < 256 for number in layouts.name)


def test_reasons_of_losses_are_words_in_order(layouts: Layouts) -> None:
    assert layouts.reasons[:2] == ("ring full", "unreadable")


def test_header_comes_first_in_every_record(layouts: Layouts) -> None:
    fields = (
        "type",
        "size",
        "boot_ns",
        "start_boot_ns",
        "tgid",
        "exec_id",
        "tid",
        "uid",
    )
    assert all(each.fields[:8] == fields for each in layouts.by_name.values())


def test_nested_struct_is_flattened_and_padding_left_out(layouts: Layouts) -> None:
    fields = layouts.by_name["process_create"].fields
    assert "file_inode" in fields
    assert not [name for name in fields if name.startswith("pad")]


def some(chance: Random, code: str, how: str) -> Any:
    """Return any value of a field."""
    if how == "varlen":
        return some_bytes(chance, size=400)
    if how == "text":
        return some_bytes(chance, bytes(range(1, 256)), int(code[:-1]))
    if code.endswith("s") and not how:
        return chance.randbytes(int(code[:-1]))
    return chance.random() < 0.5 if code == "?" else some_integer(chance, code, how)


def some_integer(chance: Random, code: str, how: str) -> int:
    bits = 32 if how == "be32" else {"B": 8, "H": 16, "I": 32, "Q": 64}[code.upper()]
    least = -(1 << bits - 1) if code.islower() and how != "be32" else 0
    most = least + (1 << bits) - 1
    any_of_them = chance.randint(least, most)
    return chance.choice([0, 1, least, most, *[any_of_them] * 4])


def some_layout(chance: Random, layouts: Layouts) -> tuple[Layout, dict[str, Any]]:
    """Return one of the layouts, and values of all its fields."""
    layout = layouts.by_name[chance.choice(sorted(layouts.by_name))]
    packed = layout._packed
    return layout, {each.name: some(chance, each.code, each.how) for each in packed}


@given(randoms())
@examples(60)
def test_what_is_encoded_is_decoded(layouts: Layouts, chance: Random) -> None:
    layout, values = some_layout(chance, layouts)
    record = layout.decode(layout.encode(**values))
    assert record._asdict() == values


@pytest.mark.parametrize("name", NAMES)
def test_short_record_is_refused(name: str, layouts: Layouts) -> None:
    layout = layouts.by_name[name]
    whole = layout.encode()
    with pytest.raises(struct.error):
        layout.decode(whole[: layout.size - 8])


def test_ports_are_big_endian(layouts: Layouts) -> None:
    layout = layouts.by_name["network_connect"]
    data = layout.encode(source_port=443)
    assert (443).to_bytes(2, "big") in data
    assert layout.decode(data).source_port == 443


def test_unknown_field_is_refused(layouts: Layouts) -> None:
    with pytest.raises(LayoutError, match="has no nonsense"):
        layouts.by_name["process_fork"].encode(nonsense=1)


@examples(60)
@given(chance=randoms())
def test_reader_gives_the_fields_asked_for_in_that_order(
    layouts: Layouts, chance: Random
) -> None:
    layout, values = some_layout(chance, layouts)
    count = chance.choice([1, 2, chance.randint(1, len(layout.fields))])
    names = chance.sample(layout.fields, k=min(count, len(layout.fields)))
    coded = layout.encode(**values)
    record = layout.decode(coded)
    assert layout.reader(*names)(coded) == tuple(getattr(record, n) for n in names)
    with pytest.raises(struct.error):
        layout.reader(names[0])(coded[: layout.size - 1])


def test_reader_of_an_unknown_field_is_refused(layouts: Layouts) -> None:
    with pytest.raises(LayoutError, match="process_fork has no colour"):
        layouts.by_name["process_fork"].reader("tgid", "colour")


def test_span_of_a_nested_struct_is_all_of_it(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    inner = [name for name in layout.fields if name.startswith("file_")]
    span = layout.span(*inner)
    assert len(inner) == 10
    assert (span.start, span.stop) == (88, 144)
    coded = layout.encode(file_inode=1, file_is_layered=258)
    assert coded[span][:8] == (1).to_bytes(8, "little")
    assert coded[span][-2:] == (258).to_bytes(2, "little")


@pytest.mark.parametrize(
    "names",
    [
        ("tgid", "start_boot_ns"),
        ("start_boot_ns", "exec_id"),
        ("tgid", "tgid"),
        ("uid", "file_inode"),
        ("boot_ns", "start_boot_ns", "exec_id"),
    ],
)
def test_span_of_fields_that_are_not_in_a_row_is_refused(
    names: tuple[str, ...], layouts: Layouts
) -> None:
    with pytest.raises(LayoutError, match="process_create does not have"):
        layouts.by_name["process_create"].span(*names)


def test_span_and_offset_of_an_unknown_field_are_refused(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    with pytest.raises(LayoutError, match="process_create has no colour"):
        layout.span("tgid", "colour")
    with pytest.raises(LayoutError, match="process_create has no file"):
        layout.offset("file")


def test_every_record_says_in_the_same_place_who_acted(layouts: Layouts) -> None:
    names = ("start_boot_ns", "tgid", "exec_id")
    spans = [layout.span(*names) for layout in layouts.by_name.values()]
    assert {(span.start, span.stop) for span in spans} == {(16, 32)}
    parent = layouts.by_name["process_fork"].span(*(f"parent_{n}" for n in names))
    assert parent.stop - parent.start == 16


def test_offset_is_where_a_field_lies(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    coded = layout.encode(file_inode=0x0102030405060708)
    at = layout.offset("file_inode")
    assert coded[at : at + 8] == bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert layouts.by_name["process_create"].offset("type") == 0
    assert layout.offset("args_offset") == layout.offset("args")


STRINGS = {"image": b"/bin/a", "cwd": b"/home", "args": b"a\0b\0"}


def test_reader_knows_where_a_string_begins(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    coded = layout.encode(tgid=7, **STRINGS)
    at, tgid = layout.reader("args_offset", "tgid")(coded)
    assert (coded[at:], tgid) == (b"a\0b\0", 7)
    assert layout.reader("tgid", "args_offset")(coded) == (7, at)
    of_cwd, of_image = layout.reader("cwd_offset", "image_offset")(coded)
    assert coded[of_cwd:].startswith(b"/home")
    assert coded[of_image:].startswith(b"/bin/a")
    unset = bytes(layout.size)
    assert layout.reader("args_offset")(unset) == (0,)
    with pytest.raises(LayoutError, match="process_create has no tgid_offset"):
        layout.reader("tgid_offset")


def test_reader_gives_a_string_and_where_it_begins(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    coded = layout.encode(**STRINGS)
    at, cwd = layout.reader("args_offset", "cwd")(coded)
    assert (coded[at:], cwd) == (b"a\0b\0", b"/home")
    assert layout.reader("args_length", "args_offset")(coded) == (4, at)


def test_string_and_where_it_begins_are_not_read_at_once(layouts: Layouts) -> None:
    with pytest.raises(LayoutError, match="read twice"):
        layouts.by_name["process_create"].reader("args", "args_offset")


@pytest.mark.parametrize("name", ["process_create", "process_scan"])
def test_strings_lie_in_reverse_order_of_the_members(
    name: str, layouts: Layouts
) -> None:
    layout = layouts.by_name[name]
    in_order = sorted(STRINGS, key=layout.offset, reverse=True)
    assert in_order == ["image", "cwd", "args"]
    assert layout.encode(**STRINGS)[layout.size :] == b"/bin/a/homea\0b\0"
    assert layout.encode(args=b"x")[layout.size :] == b"x"


def test_what_launches_share_is_one_piece_of_a_record(layouts: Layouts) -> None:
    """From the file's identity to the end of the string before `args`."""
    layout = layouts.by_name["process_create"]
    behind = [
        n for n in layout.fields if layout.offset(n) >= layout.offset("file_inode")
    ]
    own = ("image_id", "flags", "args", "namespace_pid", "session_leader")
    of_parent = [n for n in layout.fields if n.startswith("parent_")]
    mine = {*layout.fields[:8], *own, *of_parent}
    assert {*layout.fields} - {*behind} == mine
