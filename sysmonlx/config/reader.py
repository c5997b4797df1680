# SPDX-License-Identifier: MIT
"""The bytes of a configuration to a `Policy`: all is checked, every remark is kept.

The steps, in the order of `_read`:

1. `xml_text` makes a tree of the bytes, as tolerant as Sysmon's own XML reader.
2. `_version` takes the declared schema version.
3. `option_elements` and `own_settings` read what stands beside EventFiltering.
4. `event_filtering` reads the rules.
5. `lint` warns of rules that cannot do what they say on Linux.
6. `xsd_check` warns of what is not as in `config_schema/sysmonlx.xsd`.

Steps 1 to 4 decide what a configuration means and whether it is refused.
"""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sysmonlx.config import lint
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.event_filtering import Filtering
from sysmonlx.config.findings import Remarks
from sysmonlx.config.lint_values import NOTHING, Links
from sysmonlx.config.option_elements import OptionReader
from sysmonlx.config.xml_text import Node, Places, XmlError, decode, scan
from sysmonlx.config.xsd_check import validate
from sysmonlx.errors import ConfigError
from sysmonlx.finding import Finding
from sysmonlx.policy import ALGORITHMS, Policy, Ruleset
from sysmonlx.schema.events import SCHEMA_VERSION

_OLDEST_VERSION = 4.0
_NUMBER = re.compile(r"[ \t\r\n]*\+?([0-9]{1,9})(\.[0-9]*)?")


def read_policy(
    data: bytes,
    name: str,
    *,
    lax: bool = False,
    command_line: CommandLineOptions | None = None,
    links: Links = NOTHING,
) -> tuple[Policy, tuple[Finding, ...]]:
    """Return what a configuration says, and the warnings.

    Args:
        data: The bytes of the file.
        name: The file as the user named it; empty for built-in configurations.
        lax: Lose rules as Sysmon does where it finds unknown fields or conditions.
        command_line: Options given as switches; elements of the file override them.
        links: Those of this machine, for remarks on programs that are links.

    Raises:
        ConfigError: the configuration is refused; it has every finding.
    """
    with _no_collection():
        return _read(data, name, lax, command_line, links)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector of cycles from running: the tree has none.

    Its search would take a fifth of the time of a large file.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(
    data: bytes,
    name: str,
    lax: bool,
    command_line: CommandLineOptions | None,
    links: Links,
) -> tuple[Policy, tuple[Finding, ...]]:
    text, document = _document(data, name, lax=lax)
    remarks = Remarks(Places(text))
    sysmon = _root(document, name, remarks)
    declared = _version(sysmon, name, remarks)
    version = declared or SCHEMA_VERSION
    options = OptionReader(remarks, command_line or CommandLineOptions(), lax=lax)
    settings = options.read(sysmon)
    filtering = Filtering(remarks, version, options.lists(), lax=lax)
    filtering.append(settings.appended_fields)
    elements = filtering.read(sysmon)
    if any(finding.fatal for finding in remarks.found):
        raise ConfigError(name, remarks.sorted(), declared)
    remarks.found += lint.check(elements, settings, links)
    if settings.write_as_create:
        remarks.found += lint.check_writes(elements)
    remarks.found += lint.check_tampering(elements, settings)
    if not lax:
        validate(text, sysmon, remarks)
    digests = tuple((each, _digest(each, data)) for each in ALGORITHMS)
    ruleset = Ruleset(version, elements, settings.appended)
    policy = Policy(ruleset, settings, name, digests)
    return policy, remarks.sorted()


def _root(document: Node, name: str, remarks: Remarks) -> Node:
    """Return the Sysmon element; ConfigError: there is none."""
    for node in document.children:
        if node.tag == "Sysmon":
            return node
    wrong = document.children[0]
    raise _refusal(
        name,
        remarks,
        f"Error: Failed to find Sysmon tag in configuration: {name}",
        wrong.offset,
        "this is a web page: save the file itself, not the page that shows it"
        if wrong.tag.lower() == "html"
        else f"the root element is {wrong.tag}",
    )


def _digest(algorithm: str, data: bytes) -> str:
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def accepted_text(policy: Policy, warnings: tuple[Finding, ...]) -> str:
    """Return what is printed about a configuration that is used."""
    return (
        _version_lines(policy.ruleset.schema_version)
        + _findings_text(policy.source, warnings)
        + "Configuration file validated.\n"
    )


def refused_text(error: ConfigError) -> str:
    """Return what is printed about a configuration that is refused."""
    return _version_lines(error.version) + _findings_text(error.name, error.findings)


def _version_lines(version: str) -> str:
    if not version:
        return ""
    lines = f"Loading configuration file with schema version {version}\n"
    if version != SCHEMA_VERSION:
        lines += f"Sysmon schema version: {SCHEMA_VERSION}\n"
    return lines


def _findings_text(name: str, findings: tuple[Finding, ...]) -> str:
    return "".join(f"{finding.text}\n{_place(name, finding)}" for finding in findings)


def _place(name: str, finding: Finding) -> str:
    if not finding.line and not finding.advice:
        return ""
    place = f"{name}:{finding.line}:{finding.column}" if finding.line else name
    return "    " + ": ".join(filter(None, (place, finding.advice))) + "\n"


def _document(data: bytes, name: str, *, lax: bool) -> tuple[str, Node]:
    """Return the text of a file, and its tree.

    Raises:
        ConfigError: the file is empty, or no XML in Sysmon's sense.
    """
    if len(data) < 2:
        text = f"Error: Failed to read xml configuration bytes: {name}(Success)"
        finding = Finding(text, advice="the file is empty")
        raise ConfigError(name, (finding,))
    text = ""
    try:
        text = decode(data)
        return text, scan(text, skip_dtd=lax)
    except XmlError as error:
        raise _not_xml(name, text, error) from None


def _not_xml(name: str, text: str, error: XmlError) -> ConfigError:
    """Return the refusal in Sysmon's words, which count bytes of UTF-8."""
    if not text and not error.is_limit:
        message = f"Error: {error.reason}"
    else:
        offset = len(text[: error.offset].encode("utf-8", "surrogateescape"))
        message = (
            f"Error: Failed to load or parse xml configuration: {name}"
            f" ({error.reason} at offset {offset})"
        )
    return _refusal(name, Remarks(Places(text)), message, error.offset, error.advice)


def _refusal(
    name: str, remarks: Remarks, text: str, offset: int, advice: str
) -> ConfigError:
    remarks.error(text, offset, advice)
    return ConfigError(name, remarks.sorted())


def _version(sysmon: Node, name: str, remarks: Remarks) -> str:
    """Return the declared version with two decimals.

    A version that cannot be read is an error; "" is returned, and the rest of the file
    is checked as for the current one.

    Raises:
        ConfigError: the version is older than what Sysmon takes.
    """
    written = sysmon.get("schemaversion") or ""
    found = _NUMBER.match(written)
    version = float(found[1] + (found[2] or "")) if found else 0.0
    attribute = sysmon.attributes.get("schemaversion")
    offset = attribute.offset if attribute else sysmon.offset
    if version < 1:
        remarks.error(
            f"Error: Invalid schema version number ({written})  for configuration:"
            f" {name}",
            offset,
            f'expected schemaversion="{SCHEMA_VERSION}" or another from 4.00 on',
        )
        return ""
    text = f"{version:.2f}"
    if found and found.end() < len(written.rstrip()):
        remarks.warn(
            f"Warning: schemaversion '{written}' is read as {text}",
            offset,
            f'expected digits with a point, as in "{SCHEMA_VERSION}"',
        )
    if float(text) < _OLDEST_VERSION:
        remarks.error(
            f"Error: Incorrect or unsupported schema version {text}. Current Sysmon"
            f" schema version {SCHEMA_VERSION}\n",
            offset,
            "expected a version from 4.00 on",
        )
        raise ConfigError(name, remarks.sorted(), text)
    return text
