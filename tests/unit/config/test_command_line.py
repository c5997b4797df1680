# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.config.command_line import (
    Action,
    check_before_action,
    check_before_root,
    check_company,
    parse,
)
from sysmonlx.errors import UsageError


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("-?", Action.HELP),
        ("-?x -i", Action.HELP),
        ("-h", Action.HELP),
        ("-HELP", Action.HELP),
        ("-? config", Action.HELP_CONFIG),
        ("-h Configuration", Action.HELP_CONFIG),
        ("-help CONFIG", Action.HELP_CONFIG),
        ("-? other", Action.HELP),
        ("", Action.USAGE),
        ("-m", Action.USAGE),
        ("-accepteula", Action.USAGE),
        ("-z x", Action.USAGE),
        ("-y out", Action.USAGE),
        ("-s", Action.SCHEMA),
        ("-s 4.90", Action.SCHEMA),
        ("-i", Action.INSTALL),
        ("-t -i", Action.INSTALL),
        ("-t", Action.WATCH),
        ("-t verbose", Action.WATCH),
        ("-c", Action.CONFIGURE),
        ("-c --", Action.CONFIGURE),
        ("-u", Action.UNINSTALL),
        ("-U force", Action.UNINSTALL),
        ("-test a.xml", Action.TEST),
        ("-stats", Action.STATS),
        ("-stats json", Action.STATS),
        ("-selftest", Action.SELF_TEST),
        ("-nologo -SELFTEST json", Action.SELF_TEST),
    ],
)
def test_words_choose_one_action(words: str, action: Action) -> None:
    assert parse(words.split()).action is action


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("-accepteula -i a.xml", {"AcceptEula": None, "Install": "a.xml"}),
        ("-i a.xml -accepteula", {"AcceptEula": None, "Install": "a.xml"}),
        ("-I a.xml -NoLogo", {"Install": "a.xml", "NoLogo": None}),
        ("-i -nologo", {"Install": None, "NoLogo": None}),
        ("-service -i x", {"Service": None, "Install": "x"}),
        ("-it", {"Install": None, "DebugMode": None}),
        ("-ct verbose", {"Configuration": None, "DebugMode": "verbose"}),
        ("-ch md5", {"Configuration": None, "HashAlgorithms": "md5"}),
        ("-c -h md5", {"Configuration": None, "HashAlgorithms": "md5"}),
        ("-c -n", {"Configuration": None, "NetworkConnect": None}),
        ("-c -n a,b", {"Configuration": None, "NetworkConnect": "a,b"}),
        ("-c -ln a", {"Configuration": None, "ImageLoad": None, "NetworkConnect": "a"}),
        ("-c -k -x", {"Configuration": None, "ProcessAccess": "-x"}),
        ("-c f -y out", {"Configuration": "f", "OutputRules": "out"}),
        ("-c f -x out", {"Configuration": "f", "InternalRepresentation": "out"}),
        ("-i -btf /b", {"Install": None, "BTF": "/b"}),
        (
            "-c -e -f S -j x -p y",
            {
                "Configuration": None,
                "CopyOnDelete_PE": None,
                "CopyOnDelete_SIDs": "S",
                "CopyOnDelete_Extensions": "x",
                "CopyOnDelete_Processes": "y",
            },
        ),
        ("-ss dir", {"PrintSchema": None, "ServiceArchiveDirectory": "dir"}),
        ("-c --", {"Configuration": None, "ConfigDefault": None}),
        ("-c f -lax", {"Configuration": "f", "Lax": None}),
        ("-test -odd -v", {"Test": "-odd", "Verbose": None}),
        ("-test x - -v source", {"Test": "x", "Verbose": "source"}),
        ("-stats json", {"Statistics": "json"}),
    ],
)
def test_each_switch_has_its_value(words: str, values: dict[str, str | None]) -> None:
    assert parse(words.split()).values == values


@pytest.mark.parametrize(
    ("words", "events"),
    [
        ("-test c.xml", None),
        ("-test c.xml -", "-"),
        ("-test c.xml log -v", "log"),
        ("-test c.xml -v", None),
    ],
)
def test_events_of_a_test(words: str, events: str | None) -> None:
    line = parse(words.split())
    assert (line.config_file, line.events) == ("c.xml", events)


@pytest.mark.parametrize(
    ("words", "shown", "others"),
    [
        ("-t", (), {"DebugMode"}),
        ("-t verbose", (), {"DebugMode"}),
        ("-t a.xml curl no:sh -nologo", ("a.xml", "curl", "no:sh"), {"NoLogo"}),
        ("-nologo -t json --ascii x", ("json", "--ascii", "x"), {"NoLogo"}),
        ("-t curl verbose", ("curl", "verbose"), {"DebugMode"}),
        ("-t --colour never", ("--colour", "never"), {"DebugMode"}),
        ("-t a.xml -lax", ("a.xml",), {"Lax"}),
        ("-t x --", ("x",), {"ConfigDefault"}),
    ],
)
def test_words_behind_t(words: str, shown: tuple[str, ...], others: set[str]) -> None:
    line = parse(words.split())
    assert (line.action, line.words) == (Action.WATCH, shown)
    assert line.values.keys() == {"DebugMode"} | others


@pytest.mark.parametrize(
    "words",
    [
        "x",
        "/i",
        "-i a b",
        "-q",
        "-ti",
        "-ix",
        "---",
        "-c -h",
        "-c -hn a",
        "-dns",
        "-dns a",
        "-i -c",
        "-i -u",
        "-s -c",
        "-m -i",
        "-i -i",
        "-c a -c b",
        "-c -h md5 -h sha1",
        "-c -h md4",
        "-accepteulai",
        "-i -testx",
        "-test",
        "-test a -i",
        "-test a b c",
        "-stats -c",
        "-stats xml",
        "-selftest xml",
        "-i -sigma check",
        "-sigma",
        "-selftest -stats",
        "-test a -v all",
        "-i -v",
        "-btfx",
    ],
)
def test_words_that_do_not_fit_ask_for_usage(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words.split())
    assert caught.value.show_usage
    assert str(caught.value)


@pytest.mark.parametrize("words", [["-c", "-"], ["-i", "-"], ["-accepteula", "-"]])
def test_a_lone_dash_is_told_how_a_pipe_is_read(words: list[str]) -> None:
    with pytest.raises(UsageError, match="from a pipe is /dev/stdin"):
        parse(words)


@pytest.mark.parametrize("words", [["-c", ""], ["-i", ""], ["-test", ""]])
def test_an_empty_name_of_a_file_is_told(words: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{words[0]} was given an empty file name"):
        parse(words)


def test_unknown_algorithm_has_sysmons_text() -> None:
    with pytest.raises(UsageError, match=r"^Invalid hashing algorithm: md4$"):
        parse(["-c", "-h", "md4"])


def test_config_options_are_what_a_configuration_may_have() -> None:
    line = parse(["-c", "f", "-h", "md5", "-n", "a", "-nologo", "-lax"])
    options = line.config_options
    assert options.values == {"HashAlgorithms": "md5", "NetworkConnect": "a"}
    assert (options.text("NetworkConnect"), options.text("ImageLoad")) == ("a", "")
    assert not parse(["-c", "f"]).config_options


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "--",
            "The '--' switch must be used with -c switch (config update) to set"
            " defaults.\n",
        ),
        (
            "-i --",
            "The '--' switch must be used with -c switch (config update) to set"
            " defaults.\n",
        ),
        ("-z x", "\nOption not implemented on Linux.\n"),
        ("-i -d x", "\nOption not implemented on Linux.\n"),
        ("-c -a x", "\nOption not implemented on Linux.\n"),
        ("-c -r", "\nOption not implemented on Linux.\n"),
        ("-i -t loud", "Possible options for DebugMode: verbose\n"),
        ("-t a.xml -i b.xml", "Possible options for DebugMode: verbose\n"),
    ],
)
def test_refused_before_root_is_asked_for(words: str, text: str) -> None:
    line = parse(words.split())
    with pytest.raises(UsageError) as caught:
        check_before_root(line)
    assert (str(caught.value), caught.value.show_usage) == (text, False)


@pytest.mark.parametrize("words", ["-c --", "-i", "-t VERBOSE", "-u bad", ""])
def test_not_refused_before_root(words: str) -> None:
    check_before_root(parse(words.split()))


@pytest.mark.parametrize(
    ("words", "text", "show_usage"),
    [
        ("-u bad", "Invalid option for -u: it may be force or purge.", True),
        (
            "-c -- -h md5",
            "Cannot use specific settings with enforcing defaults.\n",
            False,
        ),
        ("-c f --", "Cannot use specific settings with enforcing defaults.\n", False),
        ("-c -- -n", "Cannot use specific settings with enforcing defaults.\n", False),
    ],
)
def test_refused_before_the_action(words: str, text: str, show_usage: bool) -> None:
    line = parse(words.split())
    with pytest.raises(UsageError) as caught:
        check_before_action(line)
    assert (str(caught.value), caught.value.show_usage) == (text, show_usage)


@pytest.mark.parametrize("words", ["-u", "-u FORCE", "-c --", "-c f", "-i -h md5"])
def test_not_refused_before_the_action(words: str) -> None:
    check_before_action(parse(words.split()))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-t", "-u"], "-t goes with -i, or stands alone."),
        (["-c", "a.xml", "-t", "verbose"], "-t goes with -i, or stands alone."),
        (["-t", "-stats"], "-t goes with -i, or stands alone."),
        (["-service", "-u"], "-service goes with no other action than -i."),
        (["-c", "-service"], "-service goes with no other action than -i."),
        (["-test", "a.xml", "-service"], "-service goes with no other action than -i."),
        (["-u", "-lax"], "-lax goes with -i, -c, -t and -test."),
        (["-lax", "-stats"], "-lax goes with -i, -c, -t and -test."),
    ],
)
def test_switches_that_contradict_each_other_are_refused(
    words: list[str], text: str
) -> None:
    with pytest.raises(UsageError) as refused:
        check_company(parse(words))
    assert str(refused.value) == text


@pytest.mark.parametrize(
    "words",
    [
        ["-t"],
        ["-t", "-i", "a.xml"],
        ["-i", "a.xml", "-service"],
        ["-test", "a.xml", "-lax"],
        ["-t", "a.xml", "-lax"],
    ],
)
def test_switches_that_go_together_are_taken(words: list[str]) -> None:
    check_company(parse(words))
