# SPDX-License-Identifier: MIT
"""What `-test` says of events where packs of Sigma rules are in the configuration."""

from __future__ import annotations

import io
from collections.abc import Sequence

from support.packs import asks, rule, ruleset_with

from sysmonlx.cli.replay import run
from sysmonlx.output.render import Renderer
from sysmonlx.policy import Element, Filter, Policy, Settings
from sysmonlx.rules.clauses import Junction
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import SigmaRule
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


def line(**texts: str) -> bytes:
    names = [field.name for field in EVENT_BY_ID[11].fields]
    values = [texts.get(name, "-") for name in names]
    return Renderer("xml", "h", 1, 1, 0).line(11, values, 1, 0) + b"\n"


def output(
    action: str,
    lines: Sequence[bytes],
    elements: tuple[Element, ...] = (),
    rules: Sequence[SigmaRule] = (WGET, OTHER),
    *,
    verbose: bool = False,
) -> list[str]:
    ruleset = ruleset_with(rules, action, elements)
    policy = Policy(ruleset, Settings(rules=(ruleset.packs[0].choice,)))
    out = io.StringIO()
    run(policy, "c.xml", lines, out, verbose=verbose)
    return out.getvalue().splitlines()


HIT = line(Image="/bin/wget", TargetFilename="/tmp/x")
NAME = "sigma=Download,level=high"


def test_actions_decide_as_in_the_service() -> None:
    excluded, included = element("exclude", "wget"), element("include", "wget")
    assert output("tag", [HIT])[0] == "exclude\t-\tdefault"
    assert output("include", [HIT])[0] == f"include\t{NAME}\t/x.sigma.json"
    assert output("include", [HIT], (excluded,))[0] == "exclude\t-\tc.xml:7"
    assert output("always", [HIT], (excluded,))[0] == f"include\t{NAME}\t/x.sigma.json"
    assert output("tag", [HIT], (included,))[0] == f"include\t{NAME}\tc.xml:7"


def test_hits_of_each_rule_are_counted() -> None:
    found = output("include", [HIT, HIT, line(Image="/y")])
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
