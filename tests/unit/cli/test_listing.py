# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from sysmonlx.cli.listing import listing, rule_lines
from sysmonlx.config.reader import read_policy

DATA = Path(__file__).parents[2] / "data" / "listings"
CASES = sorted(path.stem for path in DATA.glob("*.xml"))


def shown(event_filtering: str, options: str = "", version: str = "4.90") -> str:
    text = (
        f'<Sysmon schemaversion="{version}">{options}'
        f"<EventFiltering>{event_filtering}</EventFiltering></Sysmon>"
    )
    return listing(read_policy(text.encode(), "x.xml", lax=True)[0])


@pytest.mark.parametrize("case", CASES)
def test_listing_is_sysmons_byte_for_byte(case: str) -> None:
    data = (DATA / f"{case}.xml").read_bytes()
    expected = (DATA / f"{case}.txt").read_bytes()
    assert listing(read_policy(data, case)[0]).encode() == expected


def test_all_recorded_listings_are_there() -> None:
    assert len(CASES) == 12


SPEC_EXAMPLE = """
<RuleGroup groupRelation="or"><ProcessCreate onmatch="include">
<Image condition="end with">/sshd</Image>
<Rule name="DetectSuspiciousProcess" groupRelation="and">
<Image condition="begin with">/tmp</Image>
<CommandLine condition="contains">suspicious</CommandLine></Rule>
<Rule><User>root</User></Rule>
</ProcessCreate></RuleGroup>
<RuleGroup groupRelation="or"><ProcessCreate onmatch="exclude">
<Image>/usr/bin/grep</Image></ProcessCreate></RuleGroup>
<FileCreate onmatch="include">
<TargetFilename condition="contains any">/etc/;/tmp/</TargetFilename></FileCreate>
"""
SPEC_LISTING = """
Rule configuration (version 4.90):
 - ProcessCreate                      onmatch: include   combine rules using 'Or'
\tImage                          filter: end with     value: '/sshd'
\tCompound Rule DetectSuspiciousProcess   combine using And
\t    Image                          filter: begin with   value: '/tmp'
\t    CommandLine                    filter: contains     value: 'suspicious'
\tCompound Rule 0002   combine using Or
\t    User                           filter: is           value: 'root'
 - ProcessCreate                      onmatch: exclude   combine rules using 'Or'
\tImage                          filter: is           value: '/usr/bin/grep'
 - FileCreate                         onmatch: include   combine rules using 'And'
\tTargetFilename                 filter: contains any value: '/etc/;/tmp/'
"""


def test_compound_rules_are_indented_and_numbered_or_named() -> None:
    assert shown(SPEC_EXAMPLE) == SPEC_LISTING


def test_file_of_y_has_no_heading_and_no_names_of_compound_rules() -> None:
    text = f'<Sysmon schemaversion="4.90"><EventFiltering>{SPEC_EXAMPLE}'
    policy, _ = read_policy(f"{text}</EventFiltering></Sysmon>".encode(), "x")
    expected = SPEC_LISTING.partition(":\n")[2].replace("DetectSuspiciousProcess", "")
    assert rule_lines(policy, show_names=False) == expected


def test_listing_says_that_there_are_no_rules() -> None:
    assert shown("") == "No rules installed\n"


def test_field_sizes_come_first() -> None:
    sizes = "<FieldSizes>Image:20</FieldSizes>"
    assert shown("", sizes) == (
        " - Field Sizes:                   Image:20\nNo rules installed\n"
    )


def test_version_is_the_declared_one_with_two_decimals() -> None:
    text = shown('<ProcessCreate onmatch="include"/>', version="4.5")
    assert text.splitlines()[1] == "Rule configuration (version 4.50):"


def test_second_element_of_same_tag_and_onmatch_is_not_shown() -> None:
    twice = (
        '<ProcessCreate onmatch="include"><Image>a</Image></ProcessCreate>'
        '<ProcessCreate onmatch="include"><Image>b</Image></ProcessCreate>'
        '<ProcessCreate onmatch="exclude"/><ProcessCreate onmatch="include"/>'
    )
    lines = shown(twice).splitlines()[2:]
    assert [line.split("onmatch: ")[1][:7] for line in lines if "onmatch" in line] == [
        "include",
        "exclude",
        "include",
    ]
    assert not any("'b'" in line for line in lines)


def test_name_of_compound_rule_is_cut_to_32_bytes() -> None:
    name = "é" * 20
    text = shown(
        f'<ProcessCreate onmatch="include"><Rule name="{name}"><Image>a</Image></Rule>'
        "</ProcessCreate>"
    )
    assert f"Compound Rule {'é' * 16}   combine" in text


def test_empty_rule_leaves_no_trace_but_its_number() -> None:
    text = shown(
        '<ProcessCreate onmatch="include"><Rule/><Rule><Image>a</Image></Rule>'
        "</ProcessCreate>"
    )
    assert "Compound Rule 0002" in text
    assert "0001" not in text


def test_name_inherited_from_group_is_not_shown() -> None:
    text = shown(
        '<RuleGroup name="G"><ProcessCreate onmatch="include"><Rule><Image>a</Image>'
        "</Rule></ProcessCreate></RuleGroup>"
    )
    assert "Compound Rule 0001" in text


def test_tags_are_in_schema_order_whatever_the_file_has() -> None:
    text = shown(
        '<eBPFEvent onmatch="exclude"/><FileCreate onmatch="exclude"/>'
        '<ProcessCreate onmatch="exclude"/>'
    )
    tags = [line.split()[1] for line in text.splitlines()[2:]]
    assert tags == ["ProcessCreate", "FileCreate", "eBPFEvent"]


def test_rules_are_numbered_over_the_whole_file_in_schema_order() -> None:
    text = shown(
        '<FileCreate onmatch="include"><Rule><Image>f</Image></Rule></FileCreate>'
        '<ProcessCreate onmatch="include"><Rule><Image>p</Image></Rule>'
        "</ProcessCreate>"
    )
    first, second = text.split("Compound Rule ")[1:]
    assert first.startswith("0001")
    assert "'p'" in first
    assert second.startswith("0002")


def test_series_numbers_rules_anew_for_each_try() -> None:
    text = shown(
        '<RegistryEvent onmatch="include"><Rule><Details>x</Details></Rule>'
        "</RegistryEvent>"
    )
    assert "Compound Rule 0002" in text
