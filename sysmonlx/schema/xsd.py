# SPDX-License-Identifier: MIT
"""The XML schemas of a configuration, generated from `events` and `options`.

XSD 1.0, for xmlschema and for editors. It is stricter than the reader where Sysmon
ignores things without a word (unknown options, events, attributes): there the reader
only warns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import starmap

from sysmonlx.policy import DECISIONS, RELATIONS, RULE_ACTIONS
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import APPENDED, EVENTS
from sysmonlx.schema.options import (
    CONFIG_OPTIONS,
    CONTAINER,
    GROUP_PATTERN,
    NAMESPACE,
    OLD_SPELLINGS,
    RULE_LEVELS,
    RULE_STATUSES,
    RULES,
    SETTINGS,
    SINK,
    SINK_COMPRESSIONS,
    SINK_FORMS,
    SINK_HITS,
    SINK_KINDS,
    SINK_PREFIXES,
    Setting,
)

MAIN = "sysmonlx.xsd"
OWN = "sysmonlx-settings.xsd"
_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: MIT -->
<!-- Generated from sysmonlx/schema/ by "make generate". -->
"""
_XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
_PATTERNS = {
    "size": "[0-9]{1,15}[KMG]?",
    "number": "[0-9]{1,15}",
    "boolean": "[tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|0|1",
    "path": "(/.*)?",
    "names": "(({0})([ ]?,[ ]?({0}))*)?".format("|".join(APPENDED)),
}
#: Attributes of a sink that not every kind has, and their types.
_MORE = (
    *(("group", "Group"), ("prefix", "Prefix"), ("size", "Size"), ("every", "Period")),
    *(("keep", "xs:unsignedShort"), ("compress", "Compression")),
)


def main_schema() -> str:
    """Return the schema of everything that Sysmon knows."""
    tags = _fields_by_tag()
    lines = [
        f'<xs:schema {_XS} xmlns:sx="{NAMESPACE}">',
        f'  <xs:import namespace="{NAMESPACE}" schemaLocation="{OWN}"/>',
        *_root(),
        *_filtering(tags),
        *(line for tag, names in tags.items() for line in _event(tag, names)),
        *_field_type(),
        *_words_type("Decision", DECISIONS),
        *_words_type("Relation", RELATIONS),
        *_words_type("Condition", CONDITIONS),
        "</xs:schema>",
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _attribute(name: str, kind: str, more: str = "") -> str:
    return f'        <xs:attribute name="{name}" type="{kind}"{more}/>'


def _text_with(name: str, attributes: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a type: a text with attributes."""
    yield f'  <xs:complexType name="{name}">'
    yield "    <xs:simpleContent>"
    yield '      <xs:extension base="xs:string">'
    yield from attributes
    yield "      </xs:extension>"
    yield "    </xs:simpleContent>"
    yield "  </xs:complexType>"


def own_schema() -> str:
    """Return the schema of our own settings."""
    of_sink = (
        _attribute("kind", "Kind", ' use="required"'),
        *starmap(_attribute, (("form", "Form"), ("hits", "Hits"), *_MORE)),
    )
    of_rules = [
        _attribute(each.lower(), each) for each in ("Action", "Level", "Status")
    ]
    lines = [
        f'<xs:schema {_XS} xmlns="{NAMESPACE}" targetNamespace="{NAMESPACE}"'
        ' elementFormDefault="qualified">',
        f'  <xs:element name="{CONTAINER}">',
        "    <xs:complexType>",
        '      <xs:choice minOccurs="0" maxOccurs="unbounded">',
        *(line for setting in SETTINGS for line in _setting(setting)),
        f'        <xs:element name="{SINK}" type="Sink"/>',
        f'        <xs:element name="{RULES}" type="Rules"/>',
        "      </xs:choice>",
        "    </xs:complexType>",
        "  </xs:element>",
        *_text_with("Sink", of_sink),
        *_text_with("Rules", of_rules),
        *_enumeration("Kind", SINK_KINDS),
        *_enumeration("Form", SINK_FORMS),
        *_enumeration("Hits", SINK_HITS),
        *_enumeration("Prefix", SINK_PREFIXES),
        *_enumeration("Compression", SINK_COMPRESSIONS),
        *_pattern("Size", _PATTERNS["size"]),
        *_pattern("Period", "[0-9]{1,15}[mhd]"),
        *_pattern("Group", GROUP_PATTERN),
        *_enumeration("Action", RULE_ACTIONS),
        *_enumeration("Level", RULE_LEVELS),
        *_enumeration("Status", RULE_STATUSES),
        "</xs:schema>",
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _fields_by_tag() -> dict[str, list[str]]:
    """Return the fields of each tag; a tag shared by several events has all of them."""
    found: dict[str, list[str]] = {}
    for event in EVENTS:
        if event.tag:
            names = found.setdefault(event.tag, [])
            fields = (*event.fields, *event.askable)
            new = (field.name for field in fields if field.name not in names)
            names.extend(new)
    return found


def _root() -> Iterator[str]:
    yield '  <xs:element name="Sysmon">'
    yield "    <xs:complexType>"
    yield "      <xs:sequence>"
    yield '        <xs:choice minOccurs="0" maxOccurs="unbounded">'
    names = [each.name for each in CONFIG_OPTIONS]
    suffixed = [f"{name}Config" for name in names]
    for name in (*names, *suffixed, *OLD_SPELLINGS):
        yield f'          <xs:element name="{name}" type="xs:string"/>'
    yield '          <xs:element name="EventFiltering" type="Filtering"/>'
    yield "        </xs:choice>"
    yield f'        <xs:element ref="sx:{CONTAINER}" minOccurs="0"/>'
    yield "      </xs:sequence>"
    yield '      <xs:attribute name="schemaversion" use="required">'
    yield "        <xs:simpleType>"
    yield '          <xs:restriction base="xs:string">'
    yield r'            <xs:pattern value="\s*\+?[1-9][0-9]*(\.[0-9]*)?.*"/>'
    yield "          </xs:restriction>"
    yield "        </xs:simpleType>"
    yield "      </xs:attribute>"
    yield "    </xs:complexType>"
    yield "  </xs:element>"


def _filtering(tags: Iterable[str]) -> Iterator[str]:
    yield '  <xs:group name="Events">'
    yield "    <xs:choice>"
    for tag in tags:
        yield f'      <xs:element name="{tag}" type="{tag}"/>'
    yield "    </xs:choice>"
    yield "  </xs:group>"
    yield '  <xs:complexType name="Filtering">'
    yield '    <xs:choice minOccurs="0" maxOccurs="unbounded">'
    yield '      <xs:group ref="Events"/>'
    yield '      <xs:element name="RuleGroup">'
    yield "        <xs:complexType>"
    yield '          <xs:group ref="Events" minOccurs="0" maxOccurs="unbounded"/>'
    yield from _group_attributes("          ")
    yield "        </xs:complexType>"
    yield "      </xs:element>"
    yield "    </xs:choice>"
    yield "  </xs:complexType>"


def _event(tag: str, names: list[str]) -> Iterator[str]:
    yield f'  <xs:group name="{tag}Fields">'
    yield "    <xs:choice>"
    for name in names:
        yield f'      <xs:element name="{name}" type="Field"/>'
    yield "    </xs:choice>"
    yield "  </xs:group>"
    yield f'  <xs:complexType name="{tag}">'
    yield '    <xs:choice minOccurs="0" maxOccurs="unbounded">'
    yield f'      <xs:group ref="{tag}Fields"/>'
    yield '      <xs:element name="Rule">'
    yield "        <xs:complexType>"
    yield (
        f'          <xs:group ref="{tag}Fields" minOccurs="0" maxOccurs="unbounded"/>'
    )
    yield from _group_attributes("          ")
    yield "        </xs:complexType>"
    yield "      </xs:element>"
    yield "    </xs:choice>"
    yield '    <xs:attribute name="onmatch" type="Decision"/>'
    yield '    <xs:attribute name="default" type="Decision"/>'
    yield "  </xs:complexType>"


def _group_attributes(indent: str) -> Iterator[str]:
    yield f'{indent}<xs:attribute name="name" type="xs:string"/>'
    yield f'{indent}<xs:attribute name="groupRelation" type="Relation"/>'


def _field_type() -> Iterator[str]:
    yield '  <xs:complexType name="Field">'
    yield "    <xs:simpleContent>"
    yield '      <xs:extension base="xs:string">'
    yield '        <xs:attribute name="name" type="xs:string"/>'
    yield '        <xs:attribute name="condition" type="Condition"/>'
    yield "      </xs:extension>"
    yield "    </xs:simpleContent>"
    yield "  </xs:complexType>"


def _words_type(name: str, words: Iterable[str]) -> Iterator[str]:
    """Yield a type for words in any case; Sysmon takes an empty one as absent."""
    patterns = "|".join(map(_any_case, words))
    yield from _pattern(name, f"({patterns})?")


def _any_case(word: str) -> str:
    return "".join(
        f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word
    )


def _enumeration(name: str, words: Iterable[str]) -> Iterator[str]:
    return _restricted(name, (f'<xs:enumeration value="{word}"/>' for word in words))


def _pattern(name: str, pattern: str) -> Iterator[str]:
    return _restricted(name, [f'<xs:pattern value="{pattern}"/>'])


def _restricted(name: str, facets: Iterable[str]) -> Iterator[str]:
    """Yield a type of strings that XSD's `facets` restrict."""
    yield f'  <xs:simpleType name="{name}">'
    yield '    <xs:restriction base="xs:string">'
    yield from (f"      {facet}" for facet in facets)
    yield "    </xs:restriction>"
    yield "  </xs:simpleType>"


def _setting(setting: Setting) -> Iterator[str]:
    default = setting.default_text
    note = setting.meaning.replace("&", "&amp;").replace("<", "&lt;")
    yield f'        <xs:element name="{setting.element}">'
    yield "          <xs:annotation>"
    yield f"            <xs:documentation>{note} Default: {default}."
    yield "            </xs:documentation>"
    yield "          </xs:annotation>"
    yield "          <xs:simpleType>"
    yield '            <xs:restriction base="xs:token">'
    yield f'              <xs:pattern value="{_PATTERNS[setting.kind]}"/>'
    yield "            </xs:restriction>"
    yield "          </xs:simpleType>"
    yield "        </xs:element>"
