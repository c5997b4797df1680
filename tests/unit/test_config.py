# SPDX-License-Identifier: MIT
from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sysmonlx.arguments import CommandLineOptions
from sysmonlx.config import (
    EMPTY,
    accepted_text,
    read_policy,
    refused_text,
    unreadable,
)
from sysmonlx.errors import ConfigError, Finding
from sysmonlx.ruleset import Compound, Element, Filter, Policy, Settings

ROOT = Path(__file__).parents[2]
CONDITIONS = (
    "is, is not, contains, contains any, is any, contains all, excludes, excludes any,"
    " excludes all, begin with, end with, less than, more than, image, not begin with,"
    " not end with"
)


def document(event_filtering: str, options: str = "", version: str = "4.90") -> bytes:
    return (
        f'<Sysmon schemaversion="{version}">{options}'
        f"<EventFiltering>{event_filtering}</EventFiltering></Sysmon>"
    ).encode()


def read(
    data: bytes | str,
    *,
    lax: bool = False,
    switches: dict[str, str | None] | None = None,
) -> tuple[Policy, tuple[Finding, ...]]:
    raw = data.encode() if isinstance(data, str) else data
    line = CommandLineOptions(switches or {})
    return read_policy(raw, "FILE", lax=lax, command_line=line)


def refusal(data: bytes | str, *, lax: bool = False) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(data, lax=lax)
    assert any(finding.fatal for finding in caught.value.findings)
    return caught.value


def elements(event_filtering: str, **more: str) -> tuple[Element, ...]:
    return read(document(event_filtering, **more))[0].ruleset.elements


def texts(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.text for finding in findings]


def value_of(inner: str) -> str:
    (element,) = elements(
        f'<ProcessCreate onmatch="include"><Image>{inner}</Image></ProcessCreate>'
    )
    (item,) = element.items
    assert isinstance(item, Filter)
    return item.value


# Messages


def test_accepted_file_says_its_version_and_that_it_is_valid() -> None:
    assert accepted_text(*read(document("", version="4.81"))) == (
        "Loading configuration file with schema version 4.81\n"
        "Sysmon schema version: 4.90\n"
        "Configuration file validated.\n"
    )


def test_current_version_is_not_repeated() -> None:
    assert accepted_text(*read(document(""))) == (
        "Loading configuration file with schema version 4.90\n"
        "Configuration file validated.\n"
    )


def test_unreadable_file() -> None:
    assert refused_text(unreadable("/no.xml", "No such file or directory")) == (
        "Error: Failed to open xml configuration: /no.xml (No such file or directory)\n"
    )


@pytest.mark.parametrize("data", [b"", b"<"])
def test_file_shorter_than_two_bytes(data: bytes) -> None:
    assert texts(refusal(data).findings) == [
        "Error: Failed to read xml configuration bytes: FILE(Success)"
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("<Sysmon><a></b></Sysmon>", "Start-end tags mismatch at offset 11"),
        ("<Sysmon>", "Start-end tags mismatch at offset 8"),
        ("</Sysmon>", "Start-end tags mismatch at offset 0"),
        ("<Sysmon", "Error parsing start element tag at offset 7"),
        ("<Sysmon a/>", "Error parsing element attribute at offset 7"),
        ("<Sysmon a=1/>", "Error parsing element attribute at offset 7"),
        ("<Sysmon></Sysmon", "Error parsing end element tag at offset 8"),
        ("<Sysmon><!-- </Sysmon>", "Error parsing comment at offset 8"),
        ("<Sysmon><![CDATA[</Sysmon>", "Error parsing CDATA section at offset 8"),
        ("<Sysmon><1/></Sysmon>", "Could not determine tag type at offset 8"),
        (
            "<?pi <Sysmon/>",
            "Error parsing document declaration/processing instruction at offset 0",
        ),
        ("<!-- nothing -->", "No document element found at offset 0"),
    ],
)
def test_not_well_formed(data: str, reason: str) -> None:
    assert texts(refusal(data).findings) == [
        f"Error: Failed to load or parse xml configuration: FILE ({reason})"
    ]


def test_mismatch_names_line_column_and_the_tag_expected() -> None:
    text = refused_text(refusal("<Sysmon>\n  <a>\n  </b>\n</Sysmon>"))
    assert text.endswith("    FILE:3:3: </a> was expected\n")


def test_no_sysmon_root() -> None:
    error = refusal("<sysmon/>")
    assert error.findings[0].text == (
        "Error: Failed to find Sysmon tag in configuration: FILE"
    )


@pytest.mark.parametrize("version", ["", "x", "-4.5", "0.9", "0", ".5"])
def test_bad_schema_version(version: str) -> None:
    error = refusal(document("", version=version))
    assert error.findings[0].text == (
        f"Error: Invalid schema version number ({version})  for configuration: FILE"
    )


def test_missing_schema_version() -> None:
    assert texts(refusal("<Sysmon/>").findings) == [
        "Error: Invalid schema version number ()  for configuration: FILE"
    ]


@pytest.mark.parametrize("version", ["1.0", "2.0", "3.4", "3.99"])
def test_old_schema_version(version: str) -> None:
    text = refused_text(refusal(document("", version=version)))
    shown = f"{float(version):.2f}"
    assert text.startswith(
        f"Loading configuration file with schema version {shown}\n"
        "Sysmon schema version: 4.90\n"
        f"Error: Incorrect or unsupported schema version {shown}. Current Sysmon schema"
        " version 4.90\n\n"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("4.9", "4.90"),
        ("4.1", "4.10"),
        ("4.22", "4.22"),
        ("4.83", "4.83"),
        ("4", "4.00"),
        ("5.0", "5.00"),
        ("4.90-beta", "4.90"),
        ("4,x", "4.00"),
        (" 4.90", "4.90"),
    ],
)
def test_schema_version_has_two_decimals(written: str, meant: str) -> None:
    assert read(document("", version=written))[0].ruleset.schema_version == meant


def test_too_much_white_space() -> None:
    error = refusal(b" " * 2048 + b"<Sysmon/>")
    assert error.findings[0].text == "Error: Too much white space"
    assert read(b" " * 2047 + EMPTY)[0].ruleset.elements == ()


WRONG_FIELD = (
    '<ProcessCreate onmatch="include"><User>a</User></ProcessCreate>'
    '<ProcessCreate onmatch="include"><CommandLin>a</CommandLin></ProcessCreate>'
    '<ProcessCreate onmatch="include"><User>b</User></ProcessCreate>'
    '<FileCreate onmatch="exclude"/>'
)


def test_unknown_field_is_refused_with_a_guess() -> None:
    (finding,) = refusal(document(WRONG_FIELD)).findings
    assert finding.text == "Incorrect field CommandLin"
    assert finding.advice == "did you mean CommandLine?"


def test_unknown_field_when_lax_loses_its_element_and_later_ones_of_the_tag() -> None:
    policy, warnings = read(document(WRONG_FIELD), lax=True)
    assert [element.tag for element in policy.ruleset.elements] == [
        "ProcessCreate",
        "FileCreate",
    ]
    assert policy.ruleset.elements[0].items == (Filter("User", "is", "a", line=1),)
    assert "Incorrect field CommandLin" in texts(warnings)


WRONG_CONDITION = (
    '<ProcessCreate onmatch="include"><Image condition="ends with">a</Image>'
    '<User>u</User><Rule><User>v</User><Image condition="">b</Image>'
    '<Image condition="Like">c</Image><User>w</User></Rule></ProcessCreate>'
)


def test_unknown_conditions_are_refused_all_of_them() -> None:
    first, second = refusal(document(WRONG_CONDITION)).findings
    assert first.text == (
        f"Error: Unknown condition: ends with\nExpected values are {CONDITIONS}"
    )
    assert first.advice == "did you mean end with?"
    assert second.text.startswith("Error: Unknown condition: Like\n")
    assert second.column > first.column


def test_unknown_condition_when_lax_loses_the_filter_and_the_rest_of_its_rule() -> None:
    policy, _ = read(document(WRONG_CONDITION), lax=True)
    (element,) = policy.ruleset.elements
    user, rule = element.items
    assert isinstance(user, Filter)
    assert isinstance(rule, Compound)
    assert [each.value for each in rule.filters] == ["v", "b"]


def test_long_rule_name_loses_its_condition() -> None:
    name = "n" * 256
    policy, (warning,) = read(
        document(
            f'<ProcessCreate onmatch="include"><Image name="{name}">a</Image>'
            f'<Image name="{name[1:]}">b</Image></ProcessCreate>'
        )
    )
    assert warning.text == f"Error: Rule name is larger than 255 characters: {name}"
    assert len(policy.ruleset.elements[0].items) == 1


def test_element_without_onmatch_is_skipped() -> None:
    policy, (warning,) = read(document("<ProcessCreate/>"))
    assert warning.text == (
        "Error: You need to specifiy the onmatch attribute on ProcessCreate."
    )
    assert policy.ruleset.elements == ()


def test_element_with_onmatch_and_default_is_skipped() -> None:
    policy, (warning,) = read(
        document('<FileCreate onmatch="include" default="include"/>')
    )
    assert warning.text == (
        "Error: Can't specify onmatch and default on FileCreate (pick only one)"
    )
    assert policy.ruleset.elements == ()


def test_list_against_an_exclude_element_skips_it() -> None:
    policy, (warning,) = read(
        document('<NetworkConnect onmatch="exclude"/>'),
        switches={"NetworkConnect": "curl"},
    )
    assert warning.text == (
        "Error: Incompatible configuration and command-line rule on NetworkConnect"
    )
    (element,) = policy.ruleset.elements
    assert element.onmatch == "include"


@pytest.mark.parametrize(
    "option",
    [
        "<CheckRevocation/>",
        "<CheckRevocation>False</CheckRevocation>",
        "<ArchiveDirectory>Sysmon</ArchiveDirectory>",
        "<DriverName>SysmonDrv</DriverName>",
        "<CaptureClipboard/>",
        "<CaptureClipboard>enabled</CaptureClipboard>",
        "<CopyOnDeletePE>True</CopyOnDeletePE>",
        "<CopyOnDelete_PE/>",
        "<CopyOnDeleteExtensions>.exe</CopyOnDeleteExtensions>",
    ],
)
def test_windows_option_is_one_warning(option: str) -> None:
    _, (warning,) = read(document("", option))
    assert warning.text == "Option not implemented on Linux."
    assert option[1:].rstrip("/>").partition(">")[0] in warning.advice


def test_clipboard_switched_off_is_no_warning() -> None:
    assert read(document("", "<CaptureClipboard>false</CaptureClipboard>"))[1] == ()


def test_bad_word_for_a_switch_without_value() -> None:
    _, (warning,) = read(document("", "<CaptureClipboard>True</CaptureClipboard>"))
    assert warning.text == ("Error: Incorrect value 'True' for node 'CaptureClipboard'")


def test_every_finding_is_listed_with_line_and_column() -> None:
    data = (
        '<Sysmon schemaversion="4.90">\n<FieldSizes>X:1</FieldSizes>\n'
        '<EventFiltering>\n <FileCreate onmatch="include">\n  <Imag>x</Imag>\n'
        '  <Image condition="was">x</Image>\n </FileCreate>\n'
        "</EventFiltering>\n</Sysmon>\n"
    )
    error = refusal(data)
    places = [(each.line, each.column) for each in error.findings]
    assert places == [(2, 1), (5, 3), (6, 10)]
    assert "FILE:5:3: did you mean Image?" in refused_text(error)


# Warnings


@pytest.mark.parametrize(
    ("event_filtering", "text"),
    [
        ("<FileBlockExecutable/>", "Warning: unknown event FileBlockExecutable"),
        ('<ProcesCreate onmatch="include"/>', "Warning: unknown event ProcesCreate"),
        ('<RegistryEvent onmatch="include"/>', "Warning: RegistryEvent events are not"),
        ('<FileCreate onmatch="x"/>', "Warning: onmatch 'x' of FileCreate: a match"),
        (
            '<FileCreate onmatch="include" name="x"/>',
            "Warning: unknown attribute name of FileCreate",
        ),
        (
            '<FileCreate onmatch="include"><Image Condition="is"/></FileCreate>',
            "Warning: unknown attribute Condition of Image",
        ),
        (
            '<FileCreate onmatch="exclude"/><FileCreate onmatch="exclude"/>',
            "Warning: second exclude element of FileCreate: two or more elements and no"
            " match: not emitted",
        ),
        (
            '<FileCreate onmatch="include"><Image>C:\\x</Image></FileCreate>',
            "Warning: FileCreate has conditions that can never match on Linux: a path"
            " with a backslash",
        ),
        (
            '<FileCreate onmatch="include"><Image condition="image">x.EXE</Image>'
            "</FileCreate>",
            "Warning: FileCreate has conditions that can never match on Linux: an image"
            " that ends with .exe",
        ),
        (
            '<RuleGroup groupRelation="xor"><FileCreate onmatch="exclude"/>'
            "</RuleGroup>",
            "Warning: groupRelation 'xor' is taken as and",
        ),
    ],
)
def test_suspicious_rules_give_one_warning(event_filtering: str, text: str) -> None:
    _, (warning,) = read(document(event_filtering))
    assert warning.text.startswith(text)
    assert not warning.fatal


@pytest.mark.parametrize(
    "event_filtering",
    [
        '<FileCreate onmatch="exclude"/><FileCreate onmatch="include"/>',
        '<FileCreate onmatch="include"/><FileCreate onmatch="include"/>',
        '<FileCreate onmatch="include"><Image condition="is not">a.exe</Image>'
        "</FileCreate>",
        '<ProcessCreate onmatch="include"><CommandLine>\\x.exe</CommandLine>'
        "</ProcessCreate>",
        '<FileCreate onmatch="include"><Image condition="is any">a.exe;/b</Image>'
        "</FileCreate>",
    ],
)
def test_sensible_rules_give_no_warning(event_filtering: str) -> None:
    assert read(document(event_filtering))[1] == ()


def test_path_through_a_link_never_matches() -> None:
    data = document(
        '<ProcessCreate onmatch="include"><Image>/bin/sh</Image>'
        '<Image condition="end with">/bin/sh</Image></ProcessCreate>'
    )
    _, (warning,) = read_policy(data, "FILE", links={"/bin": "/usr/bin"})
    assert "/bin is a link, programs show as /usr/bin/..." in warning.text
    assert read_policy(data, "FILE")[1] == ()


def test_unknown_option_is_a_warning_and_later_ones_count() -> None:
    data = document("", "<Foo/><HashAlgorithms>md5</HashAlgorithms>")
    policy, (warning,) = read(data)
    assert warning.text == "Warning: unknown option Foo is ignored"
    assert policy.settings.hash_algorithms == ("MD5",)
    lax, _ = read(data, lax=True)
    assert lax.settings.hash_algorithms == ("SHA256",)


def test_schema_locations_of_a_file_are_not_followed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.xsd"
        instance = "http://www.w3.org/2001/XMLSchema-instance"
        read(
            EMPTY.replace(
                b"<Sysmon",
                f'<Sysmon xmlns:xsi="{instance}"'
                f' xsi:noNamespaceSchemaLocation="{url}"'.encode(),
            )
        )
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_only_the_schema_knows_is_a_warning() -> None:
    _, (warning,) = read(
        document(
            '<ProcessCreate onmatch="include"><Image>a<b/></Image></ProcessCreate>'
        )
    )
    assert warning.text.startswith("Warning: not as in the schema")


# Options


@pytest.mark.parametrize(
    ("text", "algorithms"),
    [
        ("*", ("SHA1", "MD5", "SHA256")),
        ("ALL", ("SHA1", "MD5", "SHA256")),
        ("sha256,md5", ("MD5", "SHA256")),
        ("SHA-1,Md-5,sha-256,imp-hash", ("SHA1", "MD5", "SHA256")),
        ("md5,md5", ("MD5",)),
        ("IMPHASH", ()),
        ("", ("SHA256",)),
    ],
)
def test_hash_algorithms(text: str, algorithms: tuple[str, ...]) -> None:
    options = f"<HashAlgorithms>{text}</HashAlgorithms>"
    assert read(document("", options))[0].settings.hash_algorithms == algorithms


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("md4", "md4"),
        ("md5, sha1", " sha1"),
        ("md5,,sha1", "md5,sha1"),
        ("sha1,*", "*"),
    ],
)
def test_unknown_hash_algorithm(text: str, item: str) -> None:
    error = refusal(document("", f"<HashAlgorithms>{text}</HashAlgorithms>"))
    assert texts(error.findings) == [f"Invalid hashing algorithm: {item}"]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("CommandLine:100,Image:20", (("CommandLine", 100), ("Image", 20))),
        ("Image:20,Image:30", (("Image", 30),)),
        ("Image,User:5", (("User", 5),)),
        ("Image:12x", (("Image", 12),)),
        ("", ()),
    ],
)
def test_field_sizes(text: str, sizes: tuple[tuple[str, int], ...]) -> None:
    settings = read(document("", f"<FieldSizes>{text}</FieldSizes>"))[0].settings
    assert (settings.field_sizes, settings.field_sizes_text) == (sizes, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image: 2", "FieldSizes option ('Image: 2') has invalid character: ' '."),
        ("image:2", "FieldSizes field 'image' is invalid."),
        ("Image:0", "FieldSizes field 'Image' has max size of 0."),
        ("Image:x", "FieldSizes field 'Image' has max size of 0."),
    ],
)
def test_bad_field_sizes(text: str, message: str) -> None:
    error = refusal(document("", f"<FieldSizes>{text}</FieldSizes>"))
    assert texts(error.findings) == [message]


@pytest.mark.parametrize(
    "option",
    [
        "<DnsLookup>False</DnsLookup>",
        "<PipeMonitoringConfig>x</PipeMonitoringConfig>",
        "<ProcessAccessConfig>lsass</ProcessAccessConfig>",
        "<ProcessAccess>lsass</ProcessAccess>",
        "<NetworkConnect/>",
        "<ImageLoad></ImageLoad>",
        "<DnsQuery/>",
    ],
)
def test_option_without_effect_is_accepted(option: str) -> None:
    policy, warnings = read(document("", option))
    assert warnings == ()
    assert policy.settings == Settings()
    assert policy.ruleset.elements == ()


def test_element_overrides_the_switch() -> None:
    policy, (warning,) = read(
        document("", "<HashAlgorithms>md5</HashAlgorithms>"),
        switches={"HashAlgorithms": "sha1"},
    )
    assert policy.settings.hash_algorithms == ("MD5",)
    assert warning.text == (
        "Warning: Command-line switch 'h' was overwritten by configuration node"
        " 'HashAlgorithms' value"
    )


def test_switch_holds_where_the_file_is_silent() -> None:
    policy, _ = read(EMPTY, switches={"HashAlgorithms": "sha1"})
    assert policy.settings.hash_algorithms == ("SHA1",)


@pytest.mark.parametrize("as_element", [True, False])
def test_image_list_stands_in_front_of_the_first_include_element(
    as_element: bool,
) -> None:
    rules = (
        '<NetworkConnect onmatch="include"><User>u</User></NetworkConnect>'
        '<NetworkConnect onmatch="include"><User>v</User></NetworkConnect>'
    )
    option = "<NetworkConnect>curl,wget</NetworkConnect>" if as_element else ""
    switches = {} if as_element else {"NetworkConnect": "curl,wget"}
    policy, _ = read(document(rules, option), switches=dict(switches))
    first, second = policy.ruleset.elements
    assert first.relation == "and"
    assert [each.value for each in first.items if isinstance(each, Filter)] == [
        "curl",
        "wget",
        "u",
    ]
    assert len(second.items) == 1


def test_image_list_without_element_makes_one_at_the_end() -> None:
    policy, _ = read(
        document('<FileCreate onmatch="exclude"/>'), switches={"ImageLoad": "a,b"}
    )
    assert [each.tag for each in policy.ruleset.elements] == ["FileCreate", "ImageLoad"]
    added = policy.ruleset.elements[1]
    assert (added.onmatch, added.relation, len(added.items)) == ("include", "or", 2)


def test_switch_without_list_has_no_effect() -> None:
    policy, _ = read(EMPTY, switches={"NetworkConnect": None})
    assert policy.ruleset.elements == ()


# Our settings


def own(inner: str) -> bytes:
    return document("").replace(
        b"</Sysmon>",
        f'<sx:Settings xmlns:sx="urn:sysmonlx:settings">{inner}</sx:Settings>'
        "</Sysmon>".encode(),
    )


@pytest.mark.parametrize(
    ("inner", "attribute", "value"),
    [
        ("<sx:LineLimit>8K</sx:LineLimit>", "line_limit_bytes", 8192),
        ("<sx:HashWait>0</sx:HashWait>", "hash_wait_ms", 0),
        ("<sx:HashSizeLimit>1G</sx:HashSizeLimit>", "hash_size_limit_bytes", 1 << 30),
        ("<sx:RingSize> 64K </sx:RingSize>", "ring_size_bytes", 65536),
        ("<sx:SpoolLimit>1M</sx:SpoolLimit>", "spool_limit_bytes", 1 << 20),
        ("<sx:UdpInterval>60</sx:UdpInterval>", "udp_interval_s", 60),
        ("<sx:FailedConnects>True</sx:FailedConnects>", "failed_connects", True),
        (
            "<sx:TruncationAsCreate>1</sx:TruncationAsCreate>",
            "truncation_as_create",
            True,
        ),
        ("<sx:Budget>0</sx:Budget>", "budget_percent", 0),
        ("<sx:MetricsFile>/run/x.prom</sx:MetricsFile>", "metrics_file", "/run/x.prom"),
        (
            '<sx:Sink kind="stdout"/><sx:Sink kind="file" form="json">/v</sx:Sink>',
            "sinks",
            (("stdout", "xml", ""), ("file", "json", "/v")),
        ),
    ],
)
def test_own_setting(inner: str, attribute: str, value: object) -> None:
    policy, warnings = read(own(inner))
    assert getattr(policy.settings, attribute) == value
    assert warnings == ()


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("<sx:LineLimit>5</sx:LineLimit>", "Error: Incorrect value '5'"),
        ("<sx:RingSize>100000</sx:RingSize>", "Error: Incorrect value '100000'"),
        ("<sx:Budget>101</sx:Budget>", "Error: Incorrect value '101'"),
        ("<sx:Budget>1K</sx:Budget>", "Error: Incorrect value '1K'"),
        ("<sx:Budget/>", "Error: Incorrect value ''"),
        ("<sx:FailedConnects>yes</sx:FailedConnects>", "Error: Incorrect value 'yes'"),
        ("<sx:MetricsFile>x</sx:MetricsFile>", "Error: Incorrect value 'x'"),
        ('<sx:Sink kind="tcp"/>', "Error: Incorrect value ''"),
        ('<sx:Sink kind="file"/>', "Error: Incorrect value ''"),
        ('<sx:Sink kind="stdout" form="csv"/>', "Error: Incorrect value ''"),
        ("<sx:LineLimi>5K</sx:LineLimi>", "Error: Unknown setting sx:LineLimi"),
        (
            "<sx:Budget>5</sx:Budget><sx:Budget>6</sx:Budget>",
            "Error: Incorrect value '6' for node 'sx:Budget'",
        ),
    ],
)
def test_bad_own_setting(inner: str, text: str) -> None:
    (finding,) = refusal(own(inner)).findings
    assert finding.text.startswith(text)
    assert finding.advice


def test_own_settings_in_a_default_namespace_and_not_last() -> None:
    container = '<Settings xmlns="urn:sysmonlx:settings"><Budget>7</Budget></Settings>'
    policy, (warning,) = read(document("", container))
    assert policy.settings.budget_percent == 7
    assert "is not the last element" in warning.text


def test_settings_of_another_namespace_are_an_unknown_option() -> None:
    _, warnings = read(document("", '<x:Settings xmlns:x="urn:other"/>'))
    assert texts(warnings) == ["Warning: unknown option x:Settings is ignored"]


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
def test_encodings(data: bytes) -> None:
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
    assert Policy.from_json(policy.to_json()) == policy


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
    assert Policy.from_json(policy.to_json()) == policy


@pytest.mark.parametrize("name", ["default.xml", "everything.xml"])
def test_our_examples_load_without_a_remark(name: str) -> None:
    policy, warnings = read((ROOT / "config_schema" / name).read_bytes())
    assert warnings == ()
    if name == "default.xml":
        assert policy.settings == Settings()


def test_reading_loads_no_xml_library_when_lax() -> None:
    code = (
        "import sys; from sysmonlx.config import read_policy, EMPTY;"
        "read_policy(EMPTY, 'x', lax=True);"
        "sys.exit(any(name in sys.modules for name in ('lxml', 'xmlschema')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
