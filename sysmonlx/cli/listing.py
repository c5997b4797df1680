# SPDX-License-Identifier: MIT
"""The rules as text: what `-c` without a file prints, and what `-y FILE` writes."""

from __future__ import annotations

from collections.abc import Iterator

from sysmonlx.policy import Compound, Element, Filter, Policy

NO_RULES = "No rules installed\n"
_NAME_BYTES = 32


def listing(policy: Policy) -> str:
    """Return what `-c` prints after the banner, byte for byte Sysmon's.

    The text may hold lone surrogates: write it with `surrogateescape`.
    """
    sizes = policy.settings.field_sizes_text
    head = f"{' - Field Sizes:':<34}{sizes}\n" if sizes else ""
    for path, action, level, status in policy.settings.rules:
        head += f"{' - Sigma Rules:':<34}{path} ({action}, {level}, {status})\n"
    if not policy.ruleset.elements:
        return head + NO_RULES
    version = policy.ruleset.schema_version
    return f"{head}\nRule configuration (version {version}):\n" + rule_lines(policy)


def rule_lines(policy: Policy, *, show_names: bool = True) -> str:
    """Return the rules alone; the file of `-y` has no names of compound rules.

    As with Sysmon, an element that follows one of the same tag and onmatch is not
    shown.
    """
    lines: list[str] = []
    before = ("", "")
    for element in policy.ruleset.elements:
        if (element.tag, element.onmatch) != before:
            before = (element.tag, element.onmatch)
            lines += _element_lines(element, show_names=show_names)
    return "".join(f"{line}\n" for line in lines)


def _element_lines(element: Element, *, show_names: bool) -> Iterator[str]:
    relation = element.relation.capitalize()
    yield (
        f" - {element.tag:<34} onmatch: {element.onmatch}"
        f"   combine rules using '{relation}'"
    )
    for item in element.items:
        if isinstance(item, Filter):
            yield _filter_line("\t", item)
            continue
        name = _compound_name(item, show_names=show_names)
        relation = item.relation.capitalize()
        yield f"\tCompound Rule {name}   combine using {relation}"
        for each in item.filters:
            yield _filter_line("\t    ", each)


def _filter_line(indent: str, each: Filter) -> str:
    condition = f"{each.condition:<12}"
    return f"{indent}{each.field:<30} filter: {condition} value: '{each.value}'"


def _compound_name(compound: Compound, *, show_names: bool) -> str:
    if not compound.name:
        return f"{compound.number:04}"
    if not show_names:
        return ""
    name = compound.name.encode("utf-8", "surrogateescape")[:_NAME_BYTES]
    return name.decode("utf-8", "surrogateescape")
