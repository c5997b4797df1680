# SPDX-License-Identifier: MIT
"""Hints for unknown conditions: the condition of Sysmon that was meant."""

from __future__ import annotations

import re

from sysmonlx.config.findings import Remarks
from sysmonlx.schema.conditions import CONDITIONS

#: Words of other tools for conditions, without blanks and underscores.
_OTHER_WORDS = {
    "notcontains": "excludes",
    "doesnotcontain": "excludes",
    "notcontain": "excludes",
    "notcontainsany": "excludes any",
    "notcontainsall": "excludes all",
    "notequal": "is not",
    "notequals": "is not",
    "notis": "is not",
    "isnotequal": "is not",
    "isn't": "is not",
    "!=": "is not",
    "<>": "is not",
    "equal": "is",
    "equals": "is",
    "isequal": "is",
    "=": "is",
    "==": "is",
    "in": "is any",
    "isanyof": "is any",
    "oneof": "is any",
    "startswith": "begin with",
    "startwith": "begin with",
    "beginswith": "begin with",
    "prefix": "begin with",
    "notstartswith": "not begin with",
    "notbeginswith": "not begin with",
    "doesnotstartwith": "not begin with",
    "doesnotbeginwith": "not begin with",
    "endswith": "end with",
    "suffix": "end with",
    "notendswith": "not end with",
    "doesnotendwith": "not end with",
    "like": "contains",
    "has": "contains",
    "include": "contains",
    "includes": "contains",
    "greaterthan": "more than",
    "lessthen": "less than",
    "morethen": "more than",
    ">": "more than",
    "<": "less than",
}
_NEGATION = re.compile("not|n't|exclud|!|without|no ")
#: All conditions, by whether they are negative.
_ALIKE = {
    is_negative: [
        each for each in CONDITIONS if bool(_NEGATION.search(each)) is is_negative
    ]
    for is_negative in (True, False)
}


def meant_condition(written: str, remarks: Remarks) -> str:
    """Return "did you mean X?" for an unknown condition, or nothing.

    The hint never means the opposite of what was written.
    """
    plain = written.strip()
    if plain != written and plain.lower() in CONDITIONS:
        return f"did you mean {plain.lower()}, without blanks around it?"
    known = _OTHER_WORDS.get(written.lower().replace(" ", "").replace("_", ""))
    if known:
        return f"did you mean {known}?"
    is_negative = _NEGATION.search(written.lower()) is not None
    return remarks.guess(written, _ALIKE[is_negative])
