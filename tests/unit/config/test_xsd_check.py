# SPDX-License-Identifier: MIT
"""libxml2 reads our schema, and another program must find the same files valid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import xmlschema
from lxml import etree

from sysmonlx.config import xsd_check
from sysmonlx.schema.versions import schema_data
from sysmonlx.schema.xsd import MAIN

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = sorted(
    [
        *REPOSITORY.glob("config_schema/*.xml"),
        *REPOSITORY.glob("tests/data/configs/*.xml"),
    ]
)
SYSMON = '<Sysmon schemaversion="4.90">{}</Sysmon>'
FILTER = SYSMON.format("<EventFiltering>{}</EventFiltering>")
VALID = [
    SYSMON.format(""),
    SYSMON.format("<HashAlgorithms>md5,sha256</HashAlgorithms><DnsLookup/>"),
    FILTER.format('<ProcessCreate onmatch="include"/>'),
    FILTER.format("<ProcessCreate/>"),
    FILTER.format(
        '<RuleGroup name="a" groupRelation="or"><FileCreate onmatch="exclude">'
        '<TargetFilename condition="begin with">/tmp</TargetFilename>'
        "</FileCreate></RuleGroup>"
    ),
]
INVALID = [
    "<Sysmon/>",
    "<Other/>",
    SYSMON.format("<NoSuchOption>1</NoSuchOption>"),
    SYSMON.format("text"),
    SYSMON.format("").replace(">", ' other="1">', 1),
    FILTER.format('<NoSuchEvent onmatch="include"/>'),
    FILTER.format('<ProcessCreate onmatch="sometimes"/>'),
    FILTER.format(
        '<ProcessCreate onmatch="include"><NoSuchField>1</NoSuchField></ProcessCreate>'
    ),
    FILTER.format(
        '<ProcessCreate onmatch="include">'
        '<Image condition="resembles">1</Image></ProcessCreate>'
    ),
    SYSMON.format('<Settings xmlns="urn:sysmonlx:settings"><Other/></Settings>'),
]


@pytest.fixture(scope="module")
def other() -> xmlschema.XMLSchema10:
    """Return the other program's form of our schema, which it also proves."""
    return xmlschema.XMLSchema10(str(schema_data(MAIN)), allow="local")


def findings(text: bytes, other: xmlschema.XMLSchema10) -> tuple[bool, bool]:
    """Return whether libxml2 and xmlschema find a file valid."""
    root = etree.fromstring(text)
    is_valid = other.is_valid(root)
    return not xsd_check.errors(root), is_valid


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_both_find_our_files_alike(path: Path, other: xmlschema.XMLSchema10) -> None:
    by_libxml2, by_xmlschema = findings(path.read_bytes(), other)
    assert by_libxml2 == by_xmlschema


@pytest.mark.parametrize("text", VALID)
def test_both_find_it_valid(text: str, other: xmlschema.XMLSchema10) -> None:
    assert findings(text.encode(), other) == (True, True)


@pytest.mark.parametrize("text", INVALID)
def test_both_find_it_invalid(text: str, other: xmlschema.XMLSchema10) -> None:
    assert findings(text.encode(), other) == (False, False)


def test_each_line_that_differs_is_named_once_with_its_element() -> None:
    text = FILTER.format(
        '\n<ProcessCreate onmatch="include">x\n<Image>a<b/></Image></ProcessCreate>'
    )
    found = xsd_check.errors(etree.fromstring(text))
    assert [line for line, _ in found] == [2, 3]
    assert "'ProcessCreate'" in found[0][1]
    assert "'Image'" in found[1][1]


@pytest.mark.parametrize("hyphen", ["-", "&#45;"])
@pytest.mark.parametrize("name", ["noNamespaceSchemaLocation", "schemaLocation"])
def test_schemas_that_a_file_names_are_not_even_looked_for(
    hyphen: str, name: str, tmp_path: Path
) -> None:
    """What libxml2 cannot find there would be an error, what it finds a schema."""
    other = tmp_path / "other.xsd"
    other.write_text(
        '<schema xmlns="http://www.w3.org/2001/XMLSchema"><broken/></schema>'
    )
    instance = f"http://www.w3.org/2001/XMLSchema{hyphen}instance"
    names = f' xmlns:x="{instance}" x:{name}="urn:x {other}">'
    for text in VALID:
        named = etree.fromstring(text.replace(">", names, 1))
        assert xsd_check.errors(named) == []
        assert b"other.xsd" not in etree.tostring(named)


def test_only_one_xml_library_is_loaded_whatever_a_file_holds() -> None:
    code = (
        "import sys; from sysmonlx.config.reader import read_policy;"
        f"read_policy({VALID[3].encode()!r}, 'x');"
        f"read_policy({SYSMON.format('text').encode()!r}, 'x');"
        "print(*(name in sys.modules for name in ('lxml', 'xmlschema')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert found.stdout.split() == ["True", "False"]
