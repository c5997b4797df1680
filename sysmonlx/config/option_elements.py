# SPDX-License-Identifier: MIT
"""The options of a configuration: children of Sysmon beside EventFiltering.

An option may also be given as a switch of the command line; the element of the file
wins. An option that Sysmon would not know is a warning. Sysmon stops reading options
there; this reader goes on, but not when it is lax.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sysmonlx.config import own_settings
from sysmonlx.config.command_line import NOT_IMPLEMENTED, CommandLineOptions
from sysmonlx.config.event_filtering import EVENTS_BY_TAG
from sysmonlx.config.findings import Remarks
from sysmonlx.config.option_values import (
    field_sizes,
    hash_algorithms,
    list_items,
    switch_word,
)
from sysmonlx.config.own_settings import OwnSettings, is_container
from sysmonlx.config.xml_text import Node
from sysmonlx.policy import Settings, SettingValue
from sysmonlx.schema.options import (
    CONFIG_OPTIONS,
    CONTAINER,
    NAMESPACE,
    OLD_SPELLINGS,
    WINDOWS,
    Option,
)

#: Options whose value is a list of images to include, by the tag of their event.
_LISTS = tuple(
    each.name for each in CONFIG_OPTIONS if each.is_rule and not each.force_config
)
_ELEMENTS = {option.name: option for option in CONFIG_OPTIONS}
#: Advice in the error about a wrong value of an option, by the name of the option.
_EXPECTED = {
    "hash_algorithms": "expected sha1, md5, sha256 or *, with commas and no blanks",
    "field_sizes": "expected fields and bytes as in CommandLine:100,Image:20",
}


class OptionReader:
    """Reads all options of a file.

    `_texts` are the options as written, those of the command line first; elements of
    the file replace them. `_settings` are their values, by attribute of
    `policy.Settings`.
    """

    def __init__(
        self, remarks: Remarks, command_line: CommandLineOptions, *, lax: bool
    ) -> None:
        self._remarks = remarks
        self._switches = command_line
        self._lax = lax
        self._texts: dict[str, str] = {
            name: value or "" for name, value in command_line.values.items()
        }
        self._settings: dict[str, SettingValue] = {}
        self._own = OwnSettings(remarks)

    def read(self, sysmon: Node) -> Settings:
        """Return the settings, Sysmon's and ours."""
        self._read_switches()
        self._check_attributes(sysmon)
        goes_on = True
        for node in sysmon.children:
            if is_container(node, sysmon):
                if node is not sysmon.children[-1]:
                    self._not_last(node)
                self._own.read(node)
            elif node.tag != "EventFiltering" and goes_on:
                goes_on = self._read_option(node) or not self._lax
        return Settings.of(self._settings | self._own.values())

    def lists(self) -> dict[str, tuple[str, ...]]:
        """Return the images of NetworkConnect and the like, by tag; call `read` first.

        Tags without images are left out.
        """
        return {
            tag: list_items(self._texts[tag]) for tag in _LISTS if self._texts.get(tag)
        }

    def _read_switches(self) -> None:
        """Take the value of HashAlgorithms, the only switch that has one."""
        if algorithms := self._texts.get("HashAlgorithms", ""):
            self._set("hash_algorithms", hash_algorithms, algorithms, 0)

    def _check_attributes(self, sysmon: Node) -> None:
        for name, attribute in sysmon.attributes.items():
            if name != "schemaversion" and "xmlns" not in name:
                self._remarks.warn(
                    f"Warning: unknown attribute {name} of Sysmon is ignored",
                    attribute.offset,
                    self._remarks.guess(name, ["schemaversion"]),
                )

    def _not_last(self, container: Node) -> None:
        self._remarks.warn(
            f"Warning: {container.tag} is not the last element of Sysmon",
            container.offset,
            "Sysmon stops reading options there",
        )

    def _read_option(self, node: Node) -> bool:
        """Take one option; return False if Sysmon would read no option behind it."""
        name = node.tag
        if name not in _ELEMENTS and name.removesuffix("Config") in _ELEMENTS:
            name = name.removesuffix("Config")
        option = _ELEMENTS.get(name)
        if option is None:
            return self._unknown(node)
        if option.argument == "none" and switch_word(node.text) is None:
            self._remarks.warn(
                f"Error: Incorrect value '{node.text}' for node '{node.tag}'",
                node.offset,
                "expected true, 1, enabled, false, 0, NULL, disabled or nothing",
            )
            return False
        if option.effect == WINDOWS:
            if option.argument != "none" or switch_word(node.text):
                self._not_implemented(node)
        else:
            self._take(option, node)
        return True

    def _unknown(self, node: Node) -> bool:
        """Warn of an element that is no option; return whether Sysmon goes on."""
        if node.tag in OLD_SPELLINGS:
            self._not_implemented(node)
            return True
        advice = "Sysmon stops reading options here; sysmonlx goes on"
        prefix, colon, local = node.tag.rpartition(":")
        if node.tag in EVENTS_BY_TAG:
            advice = "event elements stand inside EventFiltering"
        elif node.tag.lower() in ("rulegroup", "rule"):
            advice = f"{node.tag} stands inside EventFiltering"
        elif local == CONTAINER:
            space = f'xmlns{colon}{prefix}="{NAMESPACE}"'
            advice = f"settings of sysmonlx are those with {space}"
        elif local in own_settings.NAMES:
            advice = (
                f'it stands inside <sx:Settings xmlns:sx="{NAMESPACE}">,'
                " the last element"
            )
        elif guess := self._remarks.guess(node.tag, (*_ELEMENTS, "EventFiltering")):
            advice = guess
        self._remarks.warn(
            f"Warning: unknown option {node.tag} is ignored", node.offset, advice
        )
        return False

    def _not_implemented(self, node: Node) -> None:
        self._remarks.warn(
            NOT_IMPLEMENTED, node.offset, f"{node.tag} is ignored, Windows only"
        )

    def _take(self, option: Option, node: Node) -> None:
        """Take the text of an option, and its value where it has one."""
        name, text = option.name, node.text
        self._remarks.warn_of_lost_text(node)
        before = self._switches.values.get(name)
        if before is not None and before != text:
            self._remarks.warn(
                f"Warning: Command-line switch '{option.switch}' was overwritten by"
                f" configuration node '{node.tag}' value",
                node.offset,
            )
        self._texts[name] = text
        if name == "HashAlgorithms":
            self._hash_algorithms(node)
        elif name == "FieldSizes":
            self._set("field_sizes", field_sizes, text, node.offset)
            self._settings["field_sizes_text"] = text
        elif name == "DnsLookup":
            self._dns_lookup(node)
        elif option.target == "internal":
            self._remarks.warn(
                f"Warning: {name} has no effect in a configuration", node.offset
            )
        elif node.children and name in EVENTS_BY_TAG:
            self._remarks.warn(
                f"Warning: {node.tag} outside of EventFiltering is an option, its rules"
                " are ignored",
                node.offset,
            )

    def _dns_lookup(self, node: Node) -> None:
        is_on = switch_word(node.text.strip().lower())
        if is_on is None:
            self._remarks.warn(
                f"Warning: DnsLookup is {node.text!r}: hosts are not named",
                node.offset,
                "expected true or false",
            )
        self._settings["dns_lookup"] = bool(node.text.strip() and is_on)

    def _hash_algorithms(self, node: Node) -> None:
        if not node.text:
            self._settings.pop("hash_algorithms", None)
            self._remarks.warn(
                "Warning: empty HashAlgorithms: SHA256 is used",
                node.offset,
                "expected sha1, md5, sha256 or *",
            )
            return
        text = node.text
        if self._lax and (plain := re.sub(r"\s+", "", text)) != text:
            self._remarks.warn(
                "Warning: blanks in HashAlgorithms are ignored", node.offset
            )
            text = plain
        self._set("hash_algorithms", hash_algorithms, text, node.offset)
        if not self._settings.get("hash_algorithms", True):
            self._remarks.warn("Warning: IMPHASH is never computed", node.offset)

    def _set(
        self,
        attribute: str,
        parse: Callable[[str], SettingValue],
        text: str,
        offset: int,
    ) -> None:
        """Take the value of an option; a text that `parse` refuses is an error."""
        try:
            self._settings[attribute] = parse(text)
        except ValueError as error:
            self._remarks.error(str(error), offset, _EXPECTED[attribute])
