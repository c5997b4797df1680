# SPDX-License-Identifier: MIT
"""What is refused, what is warned of, and in which words."""

from __future__ import annotations

import socket

import pytest
from support.configurations import EMPTY, document, read, refusal, texts

from sysmonlx.config.lint_values import Links
from sysmonlx.config.reader import accepted_text, read_policy, refused_text
from sysmonlx.policy import Compound, Filter

CONDITIONS = (
    "is, is not, contains, contains any, is any, contains all, excludes, excludes any,"
    " excludes all, begin with, end with, less than, more than, image, not begin with,"
    " not end with"
)


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
            f'<ProcessCreate onmatch="include"><Image name="{name}">/a</Image>'
            f'<Image name="{name[1:]}">/b</Image></ProcessCreate>'
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
    _, (warning,) = read_policy(data, "FILE", links=Links({"/bin": "/usr/bin"}))
    assert "/bin is a link, programs show as /usr/bin/..." in warning.text
    assert read_policy(data, "FILE")[1] == ()


def test_event_that_this_machine_cannot_have_is_told_once() -> None:
    data = document('<DriverLoad onmatch="include"/><DriverLoad onmatch="exclude"/>')
    links = Links(absent={6: "its kernel has no modules"})
    policy, (warning,) = read_policy(data, "FILE", links=links)
    assert warning.text == "Warning: DriverLoad events do not occur on this machine"
    assert len(policy.ruleset.elements) == 2
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
            '<ProcessCreate onmatch="include"><Image>/a<b/></Image></ProcessCreate>'
        )
    )
    assert warning.text.startswith("Warning: not as in the schema")


# Texts of messages


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("not contains", "excludes"),
        ("does not contain", "excludes"),
        ("not equal", "is not"),
        ("starts with", "begin with"),
        ("StartsWith", "begin with"),
        ("ends with", "end with"),
        ("contain", "contains"),
        ("excluded any", "excludes any"),
        ("not begins with", "not begin with"),
        ("greater than", "more than"),
    ],
)
def test_hint_for_a_condition_never_means_the_opposite(
    written: str, meant: str
) -> None:
    rules = f'<FileCreate onmatch="include"><Image condition="{written}">/a</Image>'
    (finding,) = refusal(document(f"{rules}</FileCreate>")).findings
    assert finding.advice == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("inside", "advice"),
    [
        (
            '<Rule><Rule groupRelation="and"><Image>/x</Image></Rule></Rule>',
            "a Rule does",
        ),
        ('<RuleGroup groupRelation="or"><Image>/x</Image></RuleGroup>', "around event"),
        ('<FileCreate onmatch="include"/>', "FileCreate is an event"),
    ],
)
def test_element_in_the_wrong_place_is_one_finding(inside: str, advice: str) -> None:
    text = f'<ProcessCreate onmatch="include">{inside}</ProcessCreate>'
    (finding,) = refusal(document(text)).findings
    assert finding.text.startswith("Incorrect field ")
    assert advice in finding.advice


def test_unknown_event_is_one_warning_at_its_own_line() -> None:
    data = (
        '<Sysmon schemaversion="4.90"><EventFiltering><RuleGroup groupRelation="or">\n'
        '<FileBlockExecutable onmatch="include"><Image>/x</Image>\n'
        "</FileBlockExecutable></RuleGroup></EventFiltering></Sysmon>"
    )
    _, (warning,) = read(data)
    assert warning.line == 2
    assert warning.text == "Warning: unknown event FileBlockExecutable is ignored"


def test_blanks_in_a_message_can_be_seen_and_lax_ignores_them() -> None:
    data = document("", "<HashAlgorithms>MD5, SHA256\n</HashAlgorithms>")
    (finding,) = refusal(data).findings
    assert finding.text.startswith('Invalid hashing algorithm: " SHA256\\n"')
    policy, (warning,) = read(data, lax=True)
    assert policy.settings.hash_algorithms == ("MD5", "SHA256")
    assert warning.text == "Warning: blanks in HashAlgorithms are ignored"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("<!DOCTYPE html><html><body></body></html>", "web page"),
        ("<html><body></body></html>", "web page"),
        ("title: rule\nlogsource:\n", "YAML"),
        ('{"a": 1}', "JSON"),
        ("\x1f\x8b\b\0\0\0\0\0", "gzip"),
        ("#!/bin/sh\nexit", "a script"),
        ("nothing of it", "a configuration is XML"),
    ],
)
def test_message_says_what_the_file_is(data: str, words: str) -> None:
    (finding,) = refusal(data.encode("latin-1")).findings
    assert words in finding.advice


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("<Sysmon><a>x << y</a></Sysmon>", "write &lt; for <"),
        ('<Sysmon schemaversion="4.90"><a b=c/></Sysmon>', 'b="value"'),
        ("<Sysmon schemaversion=\u201c4.90\u201d/>", "straight quotes"),
        ("<!-- nothing -->", "from <Sysmon on"),
        (("\ufeff" + document("").decode()).encode("utf-16-be"), "save it as UTF-8"),
        (document("").decode().encode("utf-16-be"), "save it as UTF-8"),
        (("\ufeff" + document("").decode()).encode("utf-32-le"), "save it as UTF-8"),
    ],
)
def test_what_is_not_well_formed_is_told_with_what_to_do(
    data: str | bytes, words: str
) -> None:
    (finding,) = refusal(data).findings
    assert words in finding.advice


@pytest.mark.parametrize(
    "inside",
    ["/cu<!-- old: -->rl", "/cu<![CDATA[rl]]>", "<![CDATA[/cu]]> rl", "/cu<?x?>rl"],
)
def test_text_behind_a_comment_is_lost_and_told(inside: str) -> None:
    rule = f'<Image condition="end with">{inside}</Image>'
    text = f'<ProcessCreate onmatch="include">{rule}</ProcessCreate>'
    policy, warnings = read(document(text))
    (item,) = policy.ruleset.elements[0].items
    assert isinstance(item, Filter)
    assert item.value == "/cu"
    assert texts(warnings)[0] == (
        "Warning: the value of Image ends at '/cu': the text behind is not read"
    )


@pytest.mark.parametrize(
    "inside", ["<!-- a -->/curl", "/curl<!-- b -->", " <!-- a --> /curl\n<!-- b -->\n"]
)
def test_comment_before_or_behind_a_value_is_no_remark(inside: str) -> None:
    rule = f'<CommandLine condition="contains">{inside}</CommandLine>'
    text = f'<ProcessCreate onmatch="include">{rule}</ProcessCreate>'
    assert not any("not read" in each for each in texts(read(document(text))[1]))


def test_option_and_setting_of_which_text_is_lost_are_told() -> None:
    inside = "<HashAlgorithms>MD5<!-- -->,SHA1</HashAlgorithms>" + (
        '<x:Settings xmlns:x="urn:sysmonlx:settings">'
        "<x:MetricsFile>/a<!-- x -->b</x:MetricsFile></x:Settings>"
    )
    _, warnings = read(document("", inside))
    lost = [each.split()[4] for each in texts(warnings) if "not read" in each]
    assert lost == ["HashAlgorithms", "x:MetricsFile"]


@pytest.mark.parametrize("version", ["4,90", "4.90-beta", "4.9e1", "4.22.1"])
def test_version_with_something_behind_it_is_told(version: str) -> None:
    policy, warnings = read(document("", version=version))
    shown = policy.ruleset.schema_version
    assert texts(warnings) == [f"Warning: schemaversion '{version}' is read as {shown}"]


def test_version_that_is_none_is_not_said_to_be_loaded() -> None:
    text = refused_text(refusal(document("", version="abc")))
    assert text.startswith("Error: Invalid schema version number (abc)")


@pytest.mark.parametrize("written", ["end with ", " end with", "end with\u00a0"])
def test_blanks_around_a_condition_are_told(written: str) -> None:
    rules = f'<FileCreate onmatch="include"><Image condition="{written}">/a</Image>'
    (finding,) = refusal(document(f"{rules}</FileCreate>")).findings
    assert finding.advice == "did you mean end with, without blanks around it?"


@pytest.mark.parametrize(
    ("rules", "options", "name", "advice"),
    [
        ("<Rule><Image>/a</Image></Rule>", "", "event Rule", "inside an event element"),
        ("<Image>/a</Image>", "", "event Image", "inside an event element"),
        ("", "<RuleGroup/>", "option RuleGroup", "inside EventFiltering"),
        ("", "<Rule/>", "option Rule", "inside EventFiltering"),
        (
            "",
            '<x:Settings xmlns:x="urn:sysmonlx:setting"/>',
            "option x:Settings",
            'xmlns:x="urn:sysmonlx:settings"',
        ),
        ("", "<Settings/>", "option Settings", 'xmlns="urn:sysmonlx:settings"'),
    ],
)
def test_element_outside_of_its_place_is_told_where_it_belongs(
    rules: str, options: str, name: str, advice: str
) -> None:
    _, (warning, *_) = read(document(rules, options))
    assert warning.text == f"Warning: unknown {name} is ignored"
    assert advice in warning.advice


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("<HashAlgorithms>SHA512</HashAlgorithms>", "expected sha1, md5, sha256 or *"),
        ("<FieldSizes>Image:20, User:3</FieldSizes>", "CommandLine:100,Image:20"),
        ("<FieldSizes>Imag:20</FieldSizes>", "CommandLine:100,Image:20"),
    ],
)
def test_option_that_is_wrong_is_told_with_a_right_one(
    option: str, advice: str
) -> None:
    (finding,) = refusal(document("", option)).findings
    assert advice in finding.advice


def test_second_name_of_a_condition_is_never_seen() -> None:
    rules = '<Image name="one">/a</Image><Image name="two">/a</Image>'
    text = f'<FileCreate onmatch="include">{rules}</FileCreate>'
    _, (warning,) = read(document(text))
    assert "two is never the RuleName" in warning.text


@pytest.mark.parametrize(
    ("rules", "value", "text"),
    [
        ("", "true", "MassChange without rules for ProcessTampering reports nothing"),
        ("", "false", ""),
        ('<ProcessTampering onmatch="exclude"/>', "true", ""),
    ],
)
def test_mass_changes_want_rules_for_their_event(
    rules: str, value: str, text: str
) -> None:
    settings = (
        '<sx:Settings xmlns:sx="urn:sysmonlx:settings">'
        f"<sx:MassChange>{value}</sx:MassChange></sx:Settings></Sysmon>"
    )
    data = document(rules).replace(b"</Sysmon>", settings.encode())
    policy, warnings = read(data)
    assert policy.settings.mass_change == (value == "true")
    assert policy.settings.mass_change_files == 50
    assert [text in each.text for each in warnings] == [True] * bool(text)


MEMORY = "Anonymous memory made executable"
ASKED = (
    '<ProcessTampering onmatch="include">'
    f'<Type condition="is">{MEMORY}</Type></ProcessTampering>'
)


@pytest.mark.parametrize(
    ("rules", "value", "text"),
    [
        ("", "true", "ExecutableMemory without rules for ProcessTampering reports"),
        ("", "false", ""),
        (ASKED, "true", ""),
        (ASKED, "false", f"Type '{MEMORY}' does not occur while ExecutableMemory is"),
    ],
)
def test_executable_memory_wants_its_setting_and_rules(
    rules: str, value: str, text: str
) -> None:
    settings = (
        '<sx:Settings xmlns:sx="urn:sysmonlx:settings">'
        f"<sx:ExecutableMemory>{value}</sx:ExecutableMemory></sx:Settings></Sysmon>"
    )
    data = document(rules).replace(b"</Sysmon>", settings.encode())
    policy, warnings = read(data)
    assert policy.settings.executable_memory == (value == "true")
    assert [text in each.text for each in warnings] == [True] * bool(text)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ("", "WriteAsCreate without rules for FileCreate reports nothing"),
        (
            '<FileCreate onmatch="exclude"><TargetFilename>/x</TargetFilename>'
            "</FileCreate>",
            "every program that opens a file for writing is reported",
        ),
        (
            '<FileCreate onmatch="include"><Image>/x</Image></FileCreate>',
            "every program that opens a file for writing is reported",
        ),
        (
            '<FileCreate onmatch="include"><TargetFilename>/x</TargetFilename>'
            '</FileCreate><FileCreate onmatch="exclude"><Image>/x</Image></FileCreate>',
            "",
        ),
    ],
)
def test_writes_want_rules_that_name_files(rules: str, text: str) -> None:
    setting = "<sx:WriteAsCreate>{}</sx:WriteAsCreate>"
    for value in ("true", "false"):
        settings = (
            '<sx:Settings xmlns:sx="urn:sysmonlx:settings">'
            f"{setting.format(value)}</sx:Settings></Sysmon>"
        )
        data = document(rules).replace(b"</Sysmon>", settings.encode())
        _, warnings = read(data)
        found = [each.text for each in warnings]
        if value == "false" or not text:
            assert found == []
        else:
            assert text in found[0]
