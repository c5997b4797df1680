# SPDX-License-Identifier: MIT
"""The configurations that come along load; default.xml shows what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import etree

from sysmonlx.config.reader import read_policy
from sysmonlx.policy import Policy, Settings
from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import (
    CONFIG_OPTIONS,
    NAMESPACE,
    NO_EFFECT,
    SETTINGS,
    SINK_FORMS,
    SINK_KINDS,
    WINDOWS,
)

SCHEMA = Path(__file__).parents[3] / "config_schema"
DEFAULT = SCHEMA / "default.xml"
TEXT = DEFAULT.read_text("utf-8")
FILES = sorted([*SCHEMA.glob("*.xml"), *SCHEMA.glob("examples/*.xml")])
#: An element that a comment holds and nothing else: it is meant to be taken out.
IN_COMMENT = re.compile(r"<!-- (<[^!].*?>) -->")
#: Options that are rules of an event, as the elements of that event are.
OF_EVENTS = ("DnsQuery", "ImageLoad", "NetworkConnect", "ProcessAccess")


def loaded(text: str) -> Policy:
    policy, warnings = read_policy(text.encode(), "default.xml")
    assert warnings == ()
    return policy


def attributes() -> set[str]:
    """Return the attributes that the schema has for Sink and Rules."""
    tree = etree.parse(SCHEMA / "sysmonlx-settings.xsd")
    found = tree.findall(".//{http://www.w3.org/2001/XMLSchema}attribute")
    return {str(each.get("name")) for each in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_configuration_loads_without_a_warning(path: Path) -> None:
    _, warnings = read_policy(path.read_bytes(), str(path))
    assert warnings == ()


def test_each_setting_stands_in_the_default_with_a_line_about_it() -> None:
    lines = TEXT.splitlines()
    for setting in SETTINGS:
        wanted = re.compile(rf"\s*(<!-- )?<sx:{setting.element}[/>]")
        at = [number for number, line in enumerate(lines) if wanted.match(line)]
        assert len(at) == 1, setting.element
        before = next(
            line
            for line in lines[at[0] - 1 :: -1]
            if not re.match(r"\s*(<!-- )?<sx:|$", line)
        )
        assert before.rstrip().endswith("-->"), setting.element


def test_what_is_set_in_the_default_is_the_default() -> None:
    root = etree.fromstring(TEXT.encode())
    given = {etree.QName(each).localname for each in root.iter(f"{{{NAMESPACE}}}*")}
    assert {each.element for each in SETTINGS} - given == {"LineLimit", "Fields"}
    shipped = (("shipped", "include", "low", "experimental"),)
    assert loaded(TEXT).settings == Settings(rules=shipped)


def test_what_stands_in_comments_can_be_taken_out() -> None:
    found = IN_COMMENT.findall(TEXT)
    assert len(found) >= 6
    for element in found:
        if "/etc/sysmonlx-rules" not in element:  # a directory of the reader's
            assert loaded(TEXT.replace(f"<!-- {element} -->", element)) != loaded(TEXT)


@pytest.mark.parametrize("name", sorted(attributes()))
def test_each_attribute_is_shown(name: str) -> None:
    assert re.search(rf"<sx:(Sink|Rules) [^>]*\b{name}=", TEXT)


@pytest.mark.parametrize("name", [*SINK_KINDS, *SINK_FORMS])
def test_each_kind_and_form_is_named(name: str) -> None:
    (comment,) = re.findall(r"<!--\s+Where events go.*?-->", TEXT, re.DOTALL)
    assert re.search(rf"\b{name}\b", comment)


@pytest.mark.parametrize("tag", [e.tag for e in EVENTS if e.produced and e.tag])
def test_each_event_is_asked_for_or_named(tag: str) -> None:
    assert re.search(rf"<{tag}[ /]|\b{tag} \(", TEXT)


@pytest.mark.parametrize(
    "name",
    [
        each.name
        for each in CONFIG_OPTIONS
        if each.target == "all" and each.effect not in (NO_EFFECT, WINDOWS)
    ],
)
def test_each_option_with_an_effect_is_shown(name: str) -> None:
    assert name in OF_EVENTS or f"<{name}>" in TEXT
