# SPDX-License-Identifier: MIT
"""The facts about a rule that people read: its title, level, author and the like."""

from __future__ import annotations

from uuid import UUID

from sysmonlx.config.sigma.documents import Document, key_line
from sysmonlx.config.sigma.notes import RuleError
from sysmonlx.rules.sigma.pack import LEVELS, STATUSES

#: Keys that say nothing about what a rule matches, by the name of pySigma's error.
_METADATA = {
    "SigmaDateError": "date",
    "SigmaModifiedError": "modified",
    "SigmaTagError": "tags",
    "SigmaValueError": "tags",
    "SigmaRelatedError": "related",
    "SigmaFieldsError": "fields",
    "SigmaFalsePositivesError": "falsepositives",
    "SigmaAuthorError": "author",
    "SigmaDescriptionError": "description",
    "SigmaReferencesError": "references",
    "SigmaScopeError": "scope",
    "SigmaLicenseError": "license",
    "SigmaTaxonomyError": "taxonomy",
}
_TEXTS = ("title", "name", "author", "license", "date")
_LISTED = 64


def metadata_line(document: Document, error: Exception) -> int:
    """Return the line of what is wrong beside the detection; 0: it is not beside it."""
    key = _METADATA.get(type(error).__name__, "")
    if not key or key not in document.value or _is_of_values(error):
        return 0
    return key_line(document.node, key)


def _is_of_values(error: Exception) -> bool:
    """Tell an error of a value from that of a tag: both are a SigmaValueError."""
    return type(error).__name__ == "SigmaValueError" and "tag" not in str(error)


def text_at(document: Document, key: str) -> str:
    """Return a text of the top level, empty where it is none."""
    value = document.value.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""


def head_of(document: Document, file: str) -> dict[str, object]:
    """Return the arguments of a `Head`.

    Raises:
        RuleError: a rule cannot have this level, status or id; the error has its line.
    """
    return {
        **{key: text_at(document, key) for key in _TEXTS},
        "id": _id(document),
        "level": _one_of(document, "level", LEVELS, "low"),
        "status": _one_of(document, "status", STATUSES, "test"),
        "references": _texts(document, "references"),
        "tags": _texts(document, "tags"),
        "file": file,
        "line": document.line,
    }


def _id(document: Document) -> str:
    written = document.value.get("id")
    if written is None:
        return ""
    try:
        return str(UUID(str(written)))
    except ValueError:
        line = key_line(document.node, "id")
        raise RuleError("its id is no UUID", line) from None


def _one_of(document: Document, key: str, words: tuple[str, ...], default: str) -> str:
    value = document.value.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or value.lower() not in words:
        line = key_line(document.node, key)
        raise RuleError(f"its {key} is none of {', '.join(words)}", line)
    return value.lower()


def _texts(document: Document, key: str) -> tuple[str, ...]:
    value = document.value.get(key)
    if not isinstance(value, list):
        return ()
    return tuple(each for each in value if isinstance(each, str))[:_LISTED]
