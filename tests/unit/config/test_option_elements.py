# SPDX-License-Identifier: MIT
"""Options of a configuration, Sysmon's and ours, and those of the command line."""

from __future__ import annotations

import pytest
from support.configurations import EMPTY, document, read, refusal, texts

from sysmonlx.policy import Filter, Settings, SinkChoice

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
def test_hash_algorithms_are_in_one_order_and_once(
    text: str, algorithms: tuple[str, ...]
) -> None:
    options = f"<HashAlgorithms>{text}</HashAlgorithms>"
    assert read(document("", options))[0].settings.hash_algorithms == algorithms


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("md4", "md4"),
        ("md5, sha1", '" sha1" (blanks are not allowed)'),
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
def test_field_sizes_are_kept_with_their_text(
    text: str, sizes: tuple[tuple[str, int], ...]
) -> None:
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


@pytest.mark.parametrize(
    ("text", "is_on"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("", False)],
)
def test_hosts_are_named_where_the_option_says_so(text: str, is_on: bool) -> None:
    policy, warnings = read(document("", f"<DnsLookup>{text}</DnsLookup>"))
    assert warnings == ()
    assert policy.settings.dns_lookup == is_on


def test_a_lookup_that_is_neither_on_nor_off_is_told() -> None:
    policy, (warning,) = read(document("", "<DnsLookup>reverse</DnsLookup>"))
    assert not policy.settings.dns_lookup
    assert "DnsLookup is 'reverse': hosts are not named" in warning.text


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
        ("<sx:Budget>0</sx:Budget>", "budget", 0),
        ("<sx:MetricsFile>/run/x.prom</sx:MetricsFile>", "metrics_file", "/run/x.prom"),
        (
            '<sx:Sink kind="stdout"/><sx:Sink kind="file" form="json">/v</sx:Sink>',
            "sinks",
            (SinkChoice("stdout"), SinkChoice("file", "json", "/v")),
        ),
    ],
)
def test_each_setting_of_ours_is_read(
    inner: str, attribute: str, value: object
) -> None:
    policy, warnings = read(own(inner))
    assert getattr(policy.settings, attribute) == value
    assert warnings == ()


def test_budget_is_off_unless_it_is_asked_for() -> None:
    policy, warnings = read(document(""))
    assert (policy.settings.budget, warnings) == (0, ())


@pytest.mark.parametrize(("number", "is_warned"), [(0, 0), (1, 0), (2, 1), (20, 1)])
def test_budget_that_was_a_share_of_a_core_is_warned_about(
    number: int, is_warned: bool
) -> None:
    _, warnings = read(own(f"<sx:Budget>{number}</sx:Budget>"))
    assert [each.text for each in warnings] == is_warned * [
        f"Warning: Budget is no share of a core any more: {number} counts as 1"
    ]


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
            "<sx:Budget>0</sx:Budget><sx:Budget>1</sx:Budget>",
            "Error: Incorrect value '1' for node 'sx:Budget'",
        ),
    ],
)
def test_bad_own_setting(inner: str, text: str) -> None:
    (finding,) = refusal(own(inner)).findings
    assert finding.text.startswith(text)
    assert finding.advice


@pytest.mark.parametrize("text", ["1024", "1K", "2047", "0", "1048577", "2M"])
def test_line_limit_that_cannot_be_used_is_refused_with_its_range(text: str) -> None:
    (finding,) = refusal(own(f"<sx:LineLimit>{text}</sx:LineLimit>")).findings
    assert finding.text == f"Error: Incorrect value '{text}' for node 'sx:LineLimit'"
    assert finding.advice is not None
    assert "from 2048 to 1048576" in finding.advice


def test_own_settings_in_a_default_namespace_and_not_last() -> None:
    container = '<Settings xmlns="urn:sysmonlx:settings"><Budget>1</Budget></Settings>'
    policy, (warning,) = read(document("", container))
    assert policy.settings.budget == 1
    assert "is not the last element" in warning.text


@pytest.mark.parametrize("text", ['<Sink kind="syslog"/>', "<Budget>1</Budget>"])
def test_own_setting_outside_of_its_element_is_told_where_it_belongs(text: str) -> None:
    _, (warning, *_) = read(document("", text))
    assert "unknown option" in warning.text
    assert warning.advice is not None
    assert 'inside <sx:Settings xmlns:sx="urn:sysmonlx:settings">' in warning.advice


def test_settings_of_another_namespace_are_an_unknown_option() -> None:
    _, warnings = read(document("", '<x:Settings xmlns:x="urn:other"/>'))
    assert texts(warnings) == ["Warning: unknown option x:Settings is ignored"]
