# SPDX-License-Identifier: MIT
"""Policies with as many conditions as the largest that are in use."""

from __future__ import annotations

import random

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions

CONDITIONS = 3000
_CONFIG = """<Sysmon schemaversion="4.90"><EventFiltering>{rules}</EventFiltering>
<Settings xmlns="urn:sysmonlx:settings">
<Sink kind="file" form="json">{log}</Sink></Settings></Sysmon>"""


def many_conditions(seed: int, count: int = CONDITIONS) -> str:
    """Return rules that report /bin/true by the name of their seed, and nothing else.

    Half of the conditions ask what Python judges, half what the kernel does.
    """
    source = random.Random(seed)
    asked = [str(source.random()) for _ in range(count)]
    rows = (f'<CommandLine condition="contains">{each}</CommandLine>' for each in asked)
    files = (
        f'<TargetFilename condition="end with">/{each}</TargetFilename>'
        for each in asked
    )
    return (
        '<RuleGroup groupRelation="or"><ProcessCreate onmatch="include">'
        f'<Image name="seed {seed}" condition="end with">/true</Image>'
        f"{''.join([*rows][::2])}</ProcessCreate>"
        f'<FileCreate onmatch="include">{"".join([*files][1::2])}</FileCreate>'
        "</RuleGroup>"
    )


def policy(rules: str, log: object) -> str:
    """Return the policy of some event elements as JSON, with a log of JSON lines."""
    text = _CONFIG.format(rules=rules, log=log)
    made = read_data(text.encode(), "rules", CommandLineOptions()).policy
    assert made is not None
    return made.to_json()
