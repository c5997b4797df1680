# SPDX-License-Identifier: MIT
"""What `-test` says of events where packs of Sigma rules are in the configuration."""

from __future__ import annotations

import io
from collections.abc import Sequence

from support.packs import asks, correlation, rule, ruleset_with

from sysmonlx.cli.replay import run
from sysmonlx.output.render import Renderer
from sysmonlx.policy import Element, Filter, Policy, Settings
from sysmonlx.rules.clauses import Junction
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import Head
from sysmonlx.schema.events import EVENT_BY_ID

WGET = rule(
    "Download",
    asks("Image", Operation.END, "/curl", "/wget"),
    Junction(
        need_all=False,
        parts=(
            asks("TargetFilename", Operation.GLOB, "/none/*"),
            asks("TargetFilename", Operation.BEGIN, "/tmp/"),
        ),
    ),
    event_id=11,
)
OTHER = rule("Other", asks("Image", Operation.IS, "/x"), event_id=11, level="low")


def element(onmatch: str, value: str) -> Element:
    item = Filter("Image", "contains", value)
    return Element("FileCreate", (11,), onmatch, "or", (item,), line=7, bound_id=11)


def line(event_id: int, **texts: str) -> bytes:
    names = [field.name for field in EVENT_BY_ID[event_id].fields]
    values = [texts.get(name, "-") for name in names]
    return Renderer("xml", "h", 1, 1, 0).line(event_id, values, 1, 0) + b"\n"


def output(
    action: str,
    lines: Sequence[bytes],
    elements: tuple[Element, ...] = (),
    rules: Sequence[Head] = (WGET, OTHER),
    *,
    verbose: bool = False,
) -> list[str]:
    ruleset = ruleset_with(rules, action, elements)
    policy = Policy(ruleset, Settings(rules=(ruleset.packs[0].choice,)))
    out = io.StringIO()
    run(policy, "c.xml", lines, out, verbose=verbose)
    return out.getvalue().splitlines()


HIT = line(11, Image="/bin/wget", TargetFilename="/tmp/x")
NAME = "sigma=Download,level=high"


def test_actions_decide_as_in_the_service() -> None:
    excluded, included = element("exclude", "wget"), element("include", "wget")
    assert output("tag", [HIT])[0] == "exclude\t-\tdefault"
    assert output("include", [HIT])[0] == f"include\t{NAME}\t/x.sigma.json"
    assert output("include", [HIT], (excluded,))[0] == "exclude\t-\tc.xml:7"
    assert output("always", [HIT], (excluded,))[0] == f"include\t{NAME}\t/x.sigma.json"
    assert output("tag", [HIT], (included,))[0] == f"include\t{NAME}\tc.xml:7"


def test_hits_of_each_rule_are_counted() -> None:
    found = output("include", [HIT, HIT, line(11, Image="/y")])
    assert "# 2\t/x.sigma.json\tSigma, include: Download" in found
    assert "# never\t/x.sigma.json\tSigma, include: Other" in found
    assert "# 3 events: 2 included, 1 excluded" in found


def test_reasons_are_the_tests_that_decided() -> None:
    found = output("include", [HIT], verbose=True)
    at = found.index("#   /x.sigma.json: Sigma, high: Download")
    assert found[at + 1] == (
        "#     Image end with '/curl' or '/wget'; it is '/bin/wget'"
    )
    assert found[at + 2] == ("#     TargetFilename begin with '/tmp/'; it is '/tmp/x'")
    assert not found[at + 3].startswith("#     ")


def test_a_correlation_is_carried_out_over_the_lines() -> None:
    ended = rule("Ended", asks("Image", Operation.END, "/wget"), event_id=5)
    both = correlation("Both", WGET, ended, by=("ProcessGuid",), level="critical")
    at = "2026-01-01 00:00:0{}.000"
    guid = "{00000000-0000-0000-0000-000000000001}"
    texts = {"ProcessGuid": guid, "Image": "/bin/wget"}
    lines = [
        line(11, UtcTime=at.format(1), TargetFilename="/tmp/x", **texts),
        line(5, UtcTime=at.format(2), **texts),
    ]
    found = output("include", lines, rules=(WGET, ended, both), verbose=True)
    assert found[0] == "include\t-\t/x.sigma.json"
    name = "sigma=Both,level=critical"
    assert f"include\t{name}\tdefault" in found
    at_hit = found.index("#   /x.sigma.json: Sigma, critical: Both")
    assert found[at_hit + 1] == f"#     after {at.format(1)} {guid}"
    assert "# 1\t/x.sigma.json\tSigma, correlation: Both" in found
    assert "# 1\t/x.sigma.json\tSigma, include, a step: Ended" in found
