# SPDX-License-Identifier: MIT
"""The conditions of schema 4.90."""

from __future__ import annotations

DEFAULT_CONDITION = "is"

#: Conditions in schema order. F is the field as printed, V the text of the rule.
CONDITIONS: dict[str, str] = {
    "is": "F equals V",
    "is not": "F differs from V",
    "contains": "V occurs in F",
    "contains any": "some item of V occurs in F",
    "is any": "some item of V equals F",
    "contains all": "every item of V occurs in F",
    "excludes": "V does not occur in F",
    "excludes any": "no item of V occurs in F",
    "excludes all": "at least one item of V does not occur in F",
    "begin with": "F starts with V",
    "not begin with": "F does not start with V",
    "end with": "F ends with V",
    "not end with": "F does not end with V",
    "less than": "F sorts before V, as text",
    "more than": "F sorts after V, as text",
    "image": "F, or its last path component, equals V",
}

#: The order in which Sysmon's "Expected values are" lists them.
CONDITIONS_IN_MESSAGES = tuple(
    sorted(CONDITIONS, key=lambda name: name in ("not begin with", "not end with"))
)
