# SPDX-License-Identifier: MIT
"""Two programs read one schema: they must find the same files valid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from sysmonlx.config import xsd_check

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


def findings(text: bytes) -> tuple[bool, bool]:
    """Return whether libxml2 and xmlschema find a file valid."""
    root = etree.fromstring(text)
    return xsd_check._is_valid(root), xsd_check._schema().is_valid(root)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_both_find_our_files_alike(path: Path) -> None:
    by_libxml2, by_xmlschema = findings(path.read_bytes())
    assert by_libxml2 == by_xmlschema


@pytest.mark.parametrize("text", VALID)
def test_both_find_it_valid(text: str) -> None:
    assert findings(text.encode()) == (True, True)


@pytest.mark.parametrize("text", INVALID)
def test_both_find_it_invalid(text: str) -> None:
    assert findings(text.encode()) == (False, False)


@pytest.mark.parametrize("hyphen", ["-", "&#45;"])
def test_file_that_names_schemas_is_not_for_libxml2(hyphen: str) -> None:
    instance = f"http://www.w3.org/2001/XMLSchema{hyphen}instance"
    names = f' xmlns:x="{instance}" x:noNamespaceSchemaLocation="other.xsd">'
    text = VALID[0].replace(">", names, 1)
    assert findings(text.encode())[0] is False


def test_valid_file_is_read_without_the_slow_library() -> None:
    code = (
        "import sys; from sysmonlx.config.reader import read_policy;"
        f"read_policy({VALID[3].encode()!r}, 'x');"
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
