# SPDX-License-Identifier: MIT
"""The EventFiltering part of a configuration: XML elements to the rules of a policy.

    <EventFiltering>
      <RuleGroup name="Shells" groupRelation="or">       a group
        <ProcessCreate onmatch="include">                an event element
          <Image condition="end with">/sh</Image>        a filter
          <Rule name="Root" groupRelation="and">         a Rule, here `policy.Compound`
            <User>root</User>                            a filter
          </Rule>
        </ProcessCreate>
      </RuleGroup>
    </EventFiltering>

Sysmon loses parts of wrong rules without a word. This reader refuses a file with an
unknown field or condition; when it is lax, it loses the same parts and warns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from sysmonlx.config.condition_hints import meant_condition
from sysmonlx.config.findings import Remarks
from sysmonlx.config.xml_text import Node
from sysmonlx.policy import RELATIONS, Compound, Element, Filter
from sysmonlx.schema.conditions import (
    CONDITIONS,
    CONDITIONS_IN_MESSAGES,
    DEFAULT_CONDITION,
)
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS, FOREIGN_TAGS

MAX_NAME_BYTES = 255
_FIELDS_SETTING = "sx:Fields"
_OPPOSITE = {"include": "exclude", "exclude": "include"}
#: The newest schema version in which filters are joined by `or` if nothing is said.
_LAST_WITH_OR = 4.10


def _by_tag() -> dict[str, tuple[EventType, ...]]:
    tags = dict.fromkeys(event.tag for event in EVENTS if event.tag)
    return {
        tag: tuple(event for event in EVENTS if event.tag == tag)
        for tag in tags
        if tag is not None
    }


#: The events of each tag, tags in schema order.
EVENTS_BY_TAG = _by_tag()

_FIELD_NAMES = frozenset(field.name for event in EVENTS for field in event.fields)


def _names_with(appended: Collection[str]) -> dict[int, tuple[str, ...]]:
    """Return the fields of each event, by its id."""
    return {
        number: tuple(each.name for each in event.with_appended(appended).fields)
        for number, event in EVENT_BY_ID.items()
    }


_NAMES = _names_with(())


@dataclass(frozen=True, slots=True)
class _Found:
    """An event element, with relation and name of the RuleGroup around it.

    Without a group the relation is the default one, and the name is empty.
    """

    node: Node
    relation: str
    name: str


class _Dropped(Exception):  # noqa: N818  # control flow, not an error to show
    """This part of the rules is lost, as in Sysmon."""


class Filtering:
    """Reads event elements.

    `lists` are images by tag: each adds a filter that includes its events, see
    `OptionReader.lists`. `version` is the declared schema version. `_number` counts
    Rules.
    """

    def __init__(
        self,
        remarks: Remarks,
        version: str,
        lists: Mapping[str, tuple[str, ...]],
        *,
        lax: bool,
    ) -> None:
        self._remarks = remarks
        self._lists = lists
        self._lax = lax
        self._default_relation = "or" if float(version) <= _LAST_WITH_OR else "and"
        self._number = 0
        self._names = _NAMES

    def append(self, names: Collection[str]) -> None:
        """Let rules also name these fields of ours, where an event has them."""
        if names:
            self._names = _names_with(names)

    def read(self, sysmon: Node) -> tuple[Element, ...]:
        """Return the elements in schema order, within one tag in document order."""
        found: dict[str, list[_Found]] = {tag: [] for tag in EVENTS_BY_TAG}
        for part in sysmon.children:
            if part.tag == "EventFiltering":
                for each in self._find(part, quiet=False):
                    found[each.node.tag].append(each)
        elements = []
        extra = []
        for tag, nodes in found.items():
            of_tag = list(self._read_tag(nodes))
            if tag in self._lists and not self._add_list(tag, of_tag):
                extra.append(_list_element(tag, self._lists[tag]))
            elements += of_tag
        return (*elements, *extra)

    def _find(self, parent: Node, *, quiet: bool) -> Iterator[_Found]:
        """Yield the event elements below `parent`, at any depth.

        Elements of unknown names are passed through, with a warning. `quiet`: there is
        none, since an element around is an event or unknown itself.
        """
        in_group = parent.tag.lower() == "rulegroup"
        name = (parent.get("name") or "") if in_group else ""
        relation = self._relation(parent, self._default_relation) if in_group else ""
        for node in parent.children:
            is_event = node.tag in EVENTS_BY_TAG
            is_group = node.tag.lower() == "rulegroup"
            if is_event:
                yield _Found(node, relation or self._default_relation, name)
            elif is_group and not quiet:
                self._check_attributes(node, ("name", "groupRelation"))
            elif not quiet:
                self._unknown_event(node)
            yield from self._find(node, quiet=quiet or not is_group)

    def _unknown_event(self, node: Node) -> None:
        advice = self._remarks.guess(node.tag, EVENTS_BY_TAG)
        if node.tag in FOREIGN_TAGS:
            advice = "an event of Windows alone"
        elif node.tag.lower() == "rule" or node.tag in _FIELD_NAMES:
            advice = "it stands inside an event element"
        self._remarks.warn(
            f"Warning: unknown event {node.tag} is ignored", node.offset, advice
        )

    def _relation(self, node: Node, default: str) -> str:
        relation = (node.get("groupRelation") or "").lower()
        if relation not in ("", *RELATIONS):
            self._remarks.warn(
                f"Warning: groupRelation '{node.get('groupRelation')}' is taken as and",
                node.attributes["groupRelation"].offset,
                "expected and, or",
            )
        if not relation:
            return default
        return "or" if relation == "or" else "and"

    def _check_attributes(self, node: Node, known: tuple[str, ...]) -> None:
        for name, attribute in node.attributes.items():
            if name not in known:
                self._remarks.warn(
                    f"Warning: unknown attribute {name} of {node.tag} is ignored",
                    attribute.offset,
                    self._remarks.guess(name, known)
                    or f"expected {', '.join(known) or 'none'}",
                )

    def _read_tag(self, nodes: list[_Found]) -> Iterator[Element]:
        """Yield the elements of one tag; lax, those up to the first wrong one."""
        for found in nodes:
            onmatch = self._onmatch(found.node)
            if onmatch is None:
                continue
            if onmatch != "include" and found.node.tag in self._lists:
                self._remarks.warn(
                    "Error: Incompatible configuration and command-line rule on"
                    f" {found.node.tag}",
                    found.node.offset,
                    "a list of images includes; this element is skipped",
                )
                continue
            try:
                yield self._element(found, onmatch)
            except _Dropped:
                return

    def _onmatch(self, node: Node) -> str | None:
        """Return what a match does; None when Sysmon skips the element."""
        self._check_attributes(node, ("onmatch", "default"))
        onmatch, default = node.get("onmatch"), node.get("default")
        if onmatch is None and default is None:
            self._remarks.warn(
                f"Error: You need to specifiy the onmatch attribute on {node.tag}.",
                node.offset,
                "expected onmatch=include or exclude; this element is skipped",
            )
            return None
        if onmatch is not None and default is not None:
            self._remarks.warn(
                f"Error: Can't specify onmatch and default on {node.tag}"
                " (pick only one)",
                node.offset,
                "this element is skipped",
            )
            return None
        if default is not None:
            return self._decision(node, "default", default, _OPPOSITE)
        return self._decision(node, "onmatch", onmatch or "", {})

    def _decision(self, node: Node, name: str, value: str, turn: dict[str, str]) -> str:
        """Return what a match does; `turn` maps a word to its meaning if it differs."""
        word = value.lower()
        if word in _OPPOSITE:
            return turn.get(word, word)
        taken = _OPPOSITE[EVENTS_BY_TAG[node.tag][0].default or "exclude"]
        self._remarks.warn(
            f"Warning: {name} '{value}' of {node.tag}: a match means {taken}",
            node.attributes[name].offset,
            "expected include, exclude",
        )
        return taken

    def _element(self, found: _Found, onmatch: str) -> Element:
        events = EVENTS_BY_TAG[found.node.tag]
        bound = self._bind(found.node, events)
        items = tuple(self._items(found))
        return Element(
            tag=found.node.tag,
            event_ids=tuple(event.id for event in events),
            onmatch=onmatch,
            relation=found.relation,
            items=items,
            line=self._remarks.line(found.node.offset),
            bound_id=bound.id,
        )

    def _bind(self, node: Node, events: tuple[EventType, ...]) -> EventType:
        """Return the first of the events of a tag that has all fields of an element.

        As in Sysmon, Rules that were numbered for an event that lacks a field are
        numbered again for the next one.

        Raises:
            _Dropped: no event has all of them, and the reader is lax.
        """
        for event in events:
            if all(field.tag in self._names[event.id] for field in _fields_in(node)):
                return event
            self._number += self._rules_before_failure(node, event)
        self._incorrect_fields(node, events)
        if self._lax:
            raise _Dropped
        return events[0]

    def _rules_before_failure(self, node: Node, event: EventType) -> int:
        """Return how many Rules stand up to the first field that the event lacks."""
        names = self._names[event.id]
        rules = 0
        for child in node.children:
            if child.tag.lower() == "rule":
                rules += 1
                if any(field.tag not in names for field in child.children):
                    break
            elif child.tag not in names:
                break
        return rules

    def _incorrect_fields(self, node: Node, events: tuple[EventType, ...]) -> None:
        """Report the fields that no event has, or that the first one lacks."""
        union = {name for event in events for name in self._names[event.id]}
        wrong = [field for field in _fields_in(node) if field.tag not in union]
        advice = ""
        if not wrong:
            first = self._names[events[0].id]
            wrong = [field for field in _fields_in(node) if field.tag not in first]
            advice = f"no event of {node.tag} has all fields of this element"
        known = sorted(union)
        fields = f"{node.tag} has {', '.join(self._names[events[0].id])}"
        report = self._remarks.warn if self._lax else self._remarks.error
        ours = {each.name for event in events for each in event.askable} - union
        for field in wrong[:1] if self._lax else wrong:
            if place := _place_of(field):
                more = place
            elif field.tag in ours:
                more = f"it exists where the settings have <{_FIELDS_SETTING}>"
                more += f"{field.tag}</{_FIELDS_SETTING}>"
            else:
                more = self._remarks.guess(field.tag, known) or fields
            report(f"Incorrect field {field.tag}", field.offset, advice or more)

    def _items(self, found: _Found) -> Iterator[Filter | Compound]:
        """Yield the filters and Rules of an event element; empty Rules are left out."""
        for child in found.node.children:
            if child.tag.lower() == "rule":
                compound = self._compound(child, found.name)
                if compound.filters:
                    yield compound
                continue
            try:
                yield self._filter(child, found.name)
            except _Dropped:
                continue

    def _compound(self, node: Node, group_name: str) -> Compound:
        self._check_attributes(node, ("name", "groupRelation"))
        self._number += 1
        name = node.get("name") or ""
        filters = []
        for child in node.children:
            try:
                filters.append(self._filter(child, name or group_name))
            except _Dropped:
                break
        return Compound(
            filters=tuple(filters),
            relation=self._relation(node, "or"),
            number=self._number,
            name=name,
            line=self._remarks.line(node.offset),
        )

    def _filter(self, node: Node, inherited: str) -> Filter:
        """Return one filter; `inherited` is its name if it has none of its own.

        Raises:
            _Dropped: Sysmon drops it, and the filters behind it in the same Rule.
        """
        if not _place_of(node):
            self._check_attributes(node, ("condition", "name"))
        condition = self._condition(node)
        name = node.get("name") or inherited
        if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            self._remarks.warn(
                f"Error: Rule name is larger than {MAX_NAME_BYTES} characters: {name}",
                node.offset,
                "this condition is dropped",
            )
            raise _Dropped
        self._remarks.warn_of_lost_text(node)
        return Filter(
            field=node.tag,
            condition=condition,
            value=node.text,
            name=name,
            line=self._remarks.line(node.offset),
        )

    def _condition(self, node: Node) -> str:
        """Return the condition of a filter in lower case.

        Raises:
            _Dropped: it is unknown, and the reader is lax.
        """
        written = node.get("condition") or DEFAULT_CONDITION
        condition = written.lower()
        if condition in CONDITIONS:
            return condition
        text = (
            f"Error: Unknown condition: {written}\n"
            f"Expected values are {', '.join(CONDITIONS_IN_MESSAGES)}"
        )
        report = self._remarks.warn if self._lax else self._remarks.error
        offset = node.attributes["condition"].offset
        report(text, offset, meant_condition(written, self._remarks))
        if self._lax:
            raise _Dropped
        return DEFAULT_CONDITION

    def _add_list(self, tag: str, elements: list[Element]) -> bool:
        """Put the images of a list in front of the first including element, if any."""
        for index, element in enumerate(elements):
            if element.onmatch == "include":
                items = (*_list_filters(self._lists[tag]), *element.items)
                elements[index] = replace(element, items=items)
                return True
        return False


def _place_of(node: Node) -> str:
    """Return where an element belongs that is no field; empty for any other."""
    if node.tag.lower() == "rule":
        return "a Rule does not hold another Rule"
    if node.tag.lower() == "rulegroup":
        return "a RuleGroup stands around event elements, not inside"
    if node.tag in EVENTS_BY_TAG:
        return f"{node.tag} is an event, and stands beside other event elements"
    return ""


def _fields_in(node: Node) -> Iterator[Node]:
    """Yield the field elements of an event element, those of its Rules too."""
    for child in node.children:
        if child.tag.lower() == "rule":
            yield from child.children
        else:
            yield child


def _list_filters(images: tuple[str, ...]) -> tuple[Filter, ...]:
    return tuple(Filter("Image", "image", image) for image in images)


def _list_element(tag: str, images: tuple[str, ...]) -> Element:
    ids = tuple(event.id for event in EVENTS_BY_TAG[tag])
    return Element(tag, ids, "include", "or", _list_filters(images), 0, ids[0])
