# SPDX-License-Identifier: MIT
from __future__ import annotations

import re

import pytest

from sysmonlx.rules.sigma.names import NAME_BYTES, name_of
from sysmonlx.rules.sigma.pack import Head
from sysmonlx.rules.sigma.techniques import TECHNIQUES


@pytest.mark.parametrize(
    ("title", "tags", "name"),
    [
        ("A", (), "sigma=A,level=low"),
        ("A, b", ("attack.execution",), "sigma=A; b,level=low"),
        (
            "A",
            ("attack.t1059", "attack.t1059.004", "attack.t1105"),
            "sigma=A,level=low,technique_id=T1059.004,technique_name=Unix Shell",
        ),
        (
            "A",
            ("attack.t1105", "attack.t1068"),
            "sigma=A,level=low,technique_id=T1105,technique_name=Ingress Tool Transfer",
        ),
        ("A", ("attack.t9999",), "sigma=A,level=low,technique_id=T9999"),
        ("a\n\tb", ("cve.2025.1", "attack.txxxx"), "sigma=a b,level=low"),
    ],
)
def test_name_has_title_level_and_technique(
    title: str, tags: tuple[str, ...], name: str
) -> None:
    assert name_of(Head(title=title, tags=tags)) == name


@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "\udcff"])
def test_long_title_is_cut_at_a_character_and_the_rest_is_whole(character: str) -> None:
    name = name_of(Head(title=character * 300, tags=("attack.t1059.004",)))
    assert NAME_BYTES - 4 < len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES
    assert name.endswith(
        "...,level=low,technique_id=T1059.004,technique_name=Unix Shell"
    )


def test_names_of_techniques_are_well_formed() -> None:
    for technique, name in TECHNIQUES.items():
        assert re.fullmatch(r"T[0-9]{4}(\.[0-9]{3})?", technique)
        assert name == name.strip()
        assert technique.partition(".")[0] in TECHNIQUES
        assert "," not in name
