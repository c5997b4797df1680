# SPDX-License-Identifier: MIT
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import xmlschema
from lxml import etree

from sysmonlx.schema import xsd
from sysmonlx.schema.__main__ import generated_files
from sysmonlx.schema.versions import schema_data, schema_text, schemas

ROOT = Path(__file__).parents[3]
DIGESTS: dict[str, str] = json.loads(
    (ROOT / "tests/data/schema_digests.json").read_text()
)
_EVENT_ATTRIBUTES = "name value level template rulename ruledefault version target"


def manifests(text: str) -> list[etree._Element]:
    return etree.fromstring(f"{text}</manifests>").findall("manifest")


def digest(manifest: etree._Element) -> str:
    filters = manifest.find("configuration/filters")
    assert filters is not None
    facts = [
        list(manifest.attrib.values()),
        [filters.get("default"), (filters.text or "").split(",")],
        [
            sorted(option.attrib.items())
            for option in manifest.findall("configuration/options/option")
        ],
        [
            [
                sorted(
                    (name, event.get(name))
                    for name in _EVENT_ATTRIBUTES.split()
                    if event.get(name) is not None
                ),
                [
                    [data.get(name) for name in ("name", "inType", "outType")]
                    for data in event
                ],
            ]
            for event in manifest.findall("events/event")
        ],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def test_all_versions_are_as_published_newest_first_and_once() -> None:
    found = manifests(schema_text("all"))
    assert {each.get("schemaversion"): digest(each) for each in found} == DIGESTS
    assert [each.get("schemaversion") for each in found] == list(DIGESTS)


def test_no_version_prints_the_head_and_the_newest() -> None:
    text = schema_text()
    assert text.startswith("<manifests>\n  <!--")
    assert text.endswith("\n  </manifest>\n")
    assert [each.get("schemaversion") for each in manifests(text)] == ["4.90"]


@pytest.mark.parametrize(
    ("wanted", "version"), [("4.2", "4.23"), ("4.81", "4.81"), ("2", "2.0")]
)
def test_version_is_a_text_prefix_newest_first(wanted: str, version: str) -> None:
    text = schema_text(wanted)
    assert text.startswith(f'<manifest schemaversion="{version}"')
    assert text.count("<manifest ") == 1
    assert text.endswith("\n  </manifest>\n")


@pytest.mark.parametrize("wanted", ["4", "4.9", "4.90"])
def test_newest_version_comes_with_the_head(wanted: str) -> None:
    assert schema_text(wanted) == schema_text()


@pytest.mark.parametrize("wanted", ["1", "4.99", "x"])
def test_unknown_version_is_said(wanted: str) -> None:
    assert schema_text(wanted) == "There is no schema that matches that version.\n"


def test_event_attributes_are_in_published_order() -> None:
    assert (
        '      <event name="SYSMONEVENT_CREATE_PROCESS" value="1"'
        ' level="Informational" template="Process Create" rulename="ProcessCreate"'
        ' ruledefault="include" version="5" target="all">\n'
        '        <data name="RuleName" inType="win:UnicodeString"'
        ' outType="xs:string" />\n'
    ) in schema_text()


def test_old_internal_events_have_hexadecimal_values() -> None:
    assert 'value="0xf003"' in schema_text("2.0")
    assert len(schemas()) == 21


def test_generated_files_are_fresh() -> None:
    for path, text in generated_files(ROOT).items():
        assert path.read_text("utf-8") == text, path


@pytest.fixture(scope="module")
def validator() -> xmlschema.XMLSchema10:
    return xmlschema.XMLSchema10(str(schema_data(xsd.MAIN)), allow="local")


@pytest.mark.parametrize(
    "name",
    [
        "tests/data/configs/main.xml",
        "tests/data/configs/collect-all.xml",
        "tests/data/configs/swiftonsecurity.xml",
        "config_schema/default.xml",
        "config_schema/everything.xml",
        "config_schema/more.xml",
    ],
)
def test_real_configurations_validate(
    validator: xmlschema.XMLSchema10, name: str
) -> None:
    root = etree.fromstring((ROOT / name).read_bytes())
    assert [error.reason for error in validator.iter_errors(root)] == []


@pytest.mark.parametrize(
    "event",
    [
        '<ProcessCreate onmatch="include"><Imag>x</Imag></ProcessCreate>',
        '<ProcessCreate onmatch="includes"/>',
        '<ProcessCreate onmatch="include"><Image condition="like"/></ProcessCreate>',
        '<ProcessCreate onmatch="include"><Device>x</Device></ProcessCreate>',
        "<ProcessCreat/>",
    ],
)
def test_wrong_rules_do_not_validate(
    validator: xmlschema.XMLSchema10, event: str
) -> None:
    text = f'<Sysmon schemaversion="4.90"><EventFiltering>{event}</EventFiltering>'
    assert not validator.is_valid(etree.fromstring(f"{text}</Sysmon>"))
