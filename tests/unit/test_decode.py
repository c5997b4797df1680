# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmonlx.btf import Btf
from sysmonlx.capture import OBJECT
from sysmonlx.decode import Layouts
from sysmonlx.errors import LayoutError
from sysmonlx.libbpf import library

NAMES = ("process_create", "process_fork", "process_terminate", "network_connect")


@pytest.fixture(scope="module")
def layouts() -> Iterator[Layouts]:
    pointer = library().btf__parse(os.fsencode(OBJECT), None)
    yield Layouts(Btf(library(), pointer))
    library().btf__free(pointer)


def test_every_record_has_a_number_and_a_layout(layouts: Layouts) -> None:
    assert set(NAMES) < layouts.by_name.keys()
    assert layouts.number.keys() == layouts.by_name.keys()
    assert {layouts.name[number] for number in layouts.by_number} == set(
        layouts.name.values()
    )
    assert all(0 < number < layouts.type_max for number in layouts.by_number)


def test_reasons_of_losses_are_words_in_order(layouts: Layouts) -> None:
    assert layouts.reasons[:2] == ("ring full", "unreadable")


def test_header_comes_first_in_every_record(layouts: Layouts) -> None:
    fields = (
        "boot_ns",
        "start_boot_ns",
        "type",
        "size",
        "tgid",
        "tid",
        "uid",
        "exec_id",
    )
    assert all(each.fields[:8] == fields for each in layouts.by_name.values())


def test_nested_struct_is_flattened_and_padding_left_out(layouts: Layouts) -> None:
    fields = layouts.by_name["process_create"].fields
    assert "file_inode" in fields
    assert not [name for name in fields if name.startswith("pad")]


def _some(code: str, how: str) -> st.SearchStrategy[Any]:
    """Return all values of a field."""
    if how == "varlen":
        return st.binary(max_size=400)
    if how == "text":
        no_nul = st.integers(1, 255)
        return st.lists(no_nul, max_size=int(code[:-1])).map(bytes)
    if code.endswith("s") and not how:
        return st.binary(min_size=int(code[:-1]), max_size=int(code[:-1]))
    return st.booleans() if code == "?" else _integers(code, how)


def _integers(code: str, how: str) -> st.SearchStrategy[int]:
    if how == "be32":
        return st.integers(0, 2**32 - 1)
    bits = {"B": 8, "H": 16, "I": 32, "Q": 64}[code.upper()]
    if code.islower():
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(0, 2**bits - 1)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_decoded(layouts: Layouts, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(layouts.by_name)))
    layout = layouts.by_name[name]
    values = {
        field.name: data.draw(_some(field.code, field.how), field.name)
        for field in layout._packed
    }
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


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_reader_gives_the_fields_asked_for_in_that_order(
    layouts: Layouts, data: st.DataObject
) -> None:
    layout = layouts.by_name[data.draw(st.sampled_from(sorted(layouts.by_name)))]
    names = data.draw(st.lists(st.sampled_from(layout.fields), min_size=1, unique=True))
    coded = layout.encode(
        **{f.name: data.draw(_some(f.code, f.how)) for f in layout._packed}
    )
    record = layout.decode(coded)
    assert layout.reader(*names)(coded) == tuple(getattr(record, n) for n in names)
    with pytest.raises(struct.error):
        layout.reader(names[0])(coded[: layout.size - 1])


def test_reader_of_an_unknown_field_is_refused(layouts: Layouts) -> None:
    with pytest.raises(LayoutError, match="process_fork has no colour"):
        layouts.by_name["process_fork"].reader("tgid", "colour")


def test_span_of_a_nested_struct_is_all_of_it(layouts: Layouts) -> None:
    layout = layouts.by_name["process_create"]
    span = layout.span("file")
    assert (span.start, span.stop) == (40, 80)
    coded = layout.encode(file_inode=1, file_mode=0o644)
    assert coded[span][:8] == (1).to_bytes(8, "little")
    assert coded[span][-4:] == (0o644).to_bytes(4, "little")
