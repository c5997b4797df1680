# SPDX-License-Identifier: MIT
"""What event elements, their text and whole files mean."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.configurations import (
    EMPTY,
    document,
    elements,
    read,
    refusal,
    texts,
    value_of,
)

from sysmonlx.config.reader import read_policy
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.policy import Compound, Filter

ROOT = Path(__file__).parents[3]


# EventFiltering


@pytest.mark.parametrize(
    ("version", "group", "relation"),
    [
        ("4.00", "", "or"),
        ("4.1", "", "or"),
        ("4.11", "", "and"),
        ("4.90", "", "and"),
        ("4.90", 'groupRelation=""', "and"),
        ("4.1", 'groupRelation="AND"', "and"),
        ("4.90", 'groupRelation="Or"', "or"),
    ],
)
def test_relation_of_an_element(version: str, group: str, relation: str) -> None:
    (element,) = elements(
        f'<RuleGroup {group}><FileCreate onmatch="include"/></RuleGroup>',
        version=version,
    )
    assert element.relation == relation


@pytest.mark.parametrize(
    ("attribute", "relation"),
    [("", "or"), ('groupRelation=""', "or"), ('groupRelation="And"', "and")],
)
def test_relation_of_a_rule(attribute: str, relation: str) -> None:
    (element,) = elements(
        f'<FileCreate onmatch="include"><rULE {attribute}><Image>a</Image></rULE>'
        "</FileCreate>"
    )
    (compound,) = element.items
    assert isinstance(compound, Compound)
    assert compound.relation == relation


@pytest.mark.parametrize(
    ("tag", "attribute", "onmatch"),
    [
        ("FileCreate", 'onmatch="INCLUDE"', "include"),
        ("FileCreate", 'default="exclude"', "include"),
        ("FileCreate", 'default="Include"', "exclude"),
        ("FileCreate", 'onmatch="x"', "include"),
        ("FileCreate", 'onmatch=""', "include"),
        ("ProcessCreate", 'onmatch="x"', "exclude"),
        ("ProcessCreate", 'default=""', "exclude"),
    ],
)
def test_onmatch_and_default(tag: str, attribute: str, onmatch: str) -> None:
    (element,) = elements(f"<{tag} {attribute}/>")
    assert element.onmatch == onmatch


def test_elements_are_found_at_any_depth_and_directly() -> None:
    found = elements(
        '<x><y><FileCreate onmatch="include"/></y></x><FileDelete onmatch="exclude"/>'
        '<rulegroup groupRelation="or"><ProcessCreate onmatch="exclude"/></rulegroup>'
    )
    assert [(each.tag, each.relation) for each in found] == [
        ("ProcessCreate", "or"),
        ("FileCreate", "and"),
        ("FileDelete", "and"),
    ]


def test_names_come_from_the_condition_then_the_rule_then_the_group() -> None:
    (element,) = elements(
        '<RuleGroup name="G"><FileCreate onmatch="include"><Image name="F">a</Image>'
        '<Image name="">b</Image><Rule name="R"><Image name="X">c</Image>'
        '<Image>d</Image></Rule><Rule name=""><Image>e</Image></Rule>'
        "</FileCreate></RuleGroup>"
    )
    names = []
    for item in element.items:
        names += [each.name for each in getattr(item, "filters", [item])]
    assert names == ["F", "G", "X", "R", "G"]


def test_rule_inside_a_rule_is_an_unknown_field() -> None:
    error = refusal(
        document('<FileCreate onmatch="include"><Rule><Rule/></Rule></FileCreate>')
    )
    assert texts(error.findings) == ["Incorrect field Rule"]


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ("<TargetObject/>", 12),
        ("<Details/>", 13),
        ("<NewName/>", 14),
    ],
)
def test_series_is_bound_to_the_first_event_with_all_fields(
    fields: str, bound: int
) -> None:
    (element,) = elements(f'<RegistryEvent onmatch="include">{fields}</RegistryEvent>')
    assert (element.event_ids, element.bound_id) == ((12, 13, 14), bound)


def test_fields_of_different_events_of_a_series_are_refused() -> None:
    error = refusal(
        document(
            '<RegistryEvent onmatch="include"><Details/><NewName/></RegistryEvent>'
        )
    )
    assert [each.text for each in error.findings if each.fatal] == [
        "Incorrect field Details",
        "Incorrect field NewName",
    ]


def test_several_event_filterings_count() -> None:
    data = EMPTY.replace(
        b"<EventFiltering/>",
        b'<EventFiltering><FileCreate onmatch="include"/></EventFiltering>'
        b'<EventFiltering><FileDelete onmatch="include"/></EventFiltering>',
    )
    assert len(read(data)[0].ruleset.elements) == 2


# Text and encodings


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        (" /bin/x ", " /bin/x "),
        ("a\n b", "a\n b"),
        ("a<!-- c -->b", "a"),
        ("<!-- c -->b", "b"),
        (" <!-- c -->b", "b"),
        (" \n\t", ""),
        ("", ""),
        ("<![CDATA[<a>&amp;]]>", "<a>&amp;"),
        ("a<![CDATA[b]]>", "a"),
        ("&amp;&lt;&gt;&quot;&apos;&#65;&#x42;", "&<>\"'AB"),
        ("a&xxx;b & c", "a&xxx;b & c"),
        ("100%;*.x", "100%;*.x"),
    ],
)
def test_text_of_an_element_is_its_first_text(inner: str, value: str) -> None:
    assert value_of(inner) == value


RULE = document(
    '<ProcessCreate onmatch="include"><CommandLine>naïve αβ</CommandLine>'
    "</ProcessCreate>"
).decode()
DECLARATION = '<?xml version="1.0" encoding="{}"?>\n'


@pytest.mark.parametrize(
    "data",
    [
        RULE.encode(),
        b"\xef\xbb\xbf" + RULE.encode(),
        b"\xff\xfe" + RULE.encode("utf-16-le"),
        RULE.encode("utf-16-le"),
        (DECLARATION.format("utf-16") + RULE).encode("utf-16-le"),
        (DECLARATION.format("UTF-8") + RULE).encode(),
        b"junk before " + RULE.encode(),
        b" \r\n\t" + RULE.encode(),
        RULE.encode().replace(b"><", b">\r\n<"),
    ],
)
def test_text_is_the_same_in_every_encoding(data: bytes) -> None:
    (element,) = read(data)[0].ruleset.elements
    (item,) = element.items
    assert isinstance(item, Filter)
    assert item.value == "naïve αβ"


@pytest.mark.parametrize("name", ["ISO-8859-1", "iso-8859-1"])
def test_latin_1_when_declared(name: str) -> None:
    text = DECLARATION.format(name) + RULE.replace(" αβ", "")
    (element,) = read(text.encode("latin-1"))[0].ruleset.elements
    (item,) = element.items
    assert isinstance(item, Filter)
    assert item.value == "naïve"


def test_bytes_that_are_not_utf_8_match_the_bytes_of_an_event() -> None:
    data = RULE.encode().replace("ï".encode(), b"\xff")
    policy, warnings = read(data)
    (item,) = policy.ruleset.elements[0].items
    assert isinstance(item, Filter)
    assert item.value.encode(
        "utf-8", "surrogateescape"
    ) == "na\0ve αβ".encode().replace(b"\0", b"\xff")
    assert "not well-formed XML" in warnings[0].text
    assert policy_of(policy.to_json()) == policy


def test_digests_are_those_of_the_bytes_that_were_read() -> None:
    data = b"\xff\xfe" + RULE.encode("utf-16-le")
    digests = dict(read(data)[0].digests)
    assert digests == {
        "SHA1": hashlib.sha1(data).hexdigest(),
        "MD5": hashlib.md5(data).hexdigest(),
        "SHA256": hashlib.sha256(data).hexdigest(),
    }


# Hostile files


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "dtd",
    [
        f'<!DOCTYPE Sysmon [<!ENTITY l0 "lol">{LAUGHS}]>',
        '<!DOCTYPE Sysmon [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE Sysmon SYSTEM "http://127.0.0.1:1/x.dtd">',
    ],
)
def test_dtd_is_refused_and_nothing_expanded(dtd: str) -> None:
    data = (
        dtd
        + document(
            '<FileCreate onmatch="include"><Image>&l9;&x;</Image></FileCreate>'
        ).decode()
    )
    (finding,) = refusal(data).findings
    assert "document type declaration" in finding.text
    (item,) = read(data, lax=True)[0].ruleset.elements[0].items
    assert isinstance(item, Filter)
    assert item.value == "&l9;&x;"


def test_depth_is_limited() -> None:
    assert "nested deeper" in refusal("<a>" * 100000).findings[0].text


def test_size_is_limited() -> None:
    assert "larger than" in refusal(EMPTY + b" " * (4 << 20)).findings[0].text


def test_number_of_elements_is_limited() -> None:
    assert "more than 40000" in refusal("<a>" + "<b/>" * 45000).findings[0].text


def test_nul_is_refused() -> None:
    assert "NUL" in refusal(EMPTY.replace(b">", b">\0", 1)).findings[0].advice


# Real files


@pytest.mark.parametrize(
    ("name", "count"), [("main", 6), ("collect-all", 7), ("swiftonsecurity", 21)]
)
def test_real_configuration_loads(name: str, count: int) -> None:
    data = (ROOT / f"tests/data/configs/{name}.xml").read_bytes()
    policy, _ = read_policy(data, name)
    assert len(policy.ruleset.elements) == count
    assert policy_of(policy.to_json()) == policy


def test_reading_loads_no_xml_library_when_lax() -> None:
    code = (
        "import sys; from sysmonlx.config.reader import read_policy;"
        f"read_policy({EMPTY!r}, 'x', lax=True);"
        "sys.exit(any(name in sys.modules for name in ('lxml', 'xmlschema')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
