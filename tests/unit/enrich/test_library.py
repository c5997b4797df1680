# SPDX-License-Identifier: MIT
"""Event 7: its values, and when its hook is there."""

from __future__ import annotations

import pytest
from support.enrichment import complete, encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.library import LIBRARY_HASHES, LIBRARY_HOOKS
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.policy import Settings
from sysmonlx.schema.events import IMAGE_LOAD


@pytest.mark.parametrize(
    ("path", "flags", "shown", "is_plain"),
    [
        (b"/a.so", "", "/a.so", True),
        (b"/a&b.so", "", "/a&b.so", False),
        (b"/\xff.so", "", "/\udcff.so", False),
        (b"a.so", "PATH_TRUNCATED", "+a.so", True),
        (b"", "", "-", True),
    ],
)
def test_path_is_told_as_it_is(
    layouts: Layouts, path: bytes, flags: str, shown: str, is_plain: bool
) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, "library_load", 7)
    data = encode(layouts, "library_load", tgid=2, path=path, flags=flags)
    made = complete(maker, data, context.processes.acting(data))
    assert made is not None
    values = named(7, made[0])
    assert values["ImageLoaded"] == shown
    assert made[1] == is_plain
    constant = {field.name: field.only for field in IMAGE_LOAD.fields if field.only}
    assert all(values[name] in only for name, only in constant.items())


def test_hashes_stand_where_they_are_put() -> None:
    assert IMAGE_LOAD.fields[LIBRARY_HASHES].name == "Hashes"


def test_hook_is_there_for_the_event_alone() -> None:
    assert {*LIBRARY_HOOKS} <= {*hooks_for((7).__eq__, Settings())}
    assert not {*LIBRARY_HOOKS} & {*hooks_for((1).__eq__, Settings())}
