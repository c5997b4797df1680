# SPDX-License-Identifier: MIT
"""The options of a configuration, Sysmon's and ours, over those of the command line."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.config.command_line import NOT_IMPLEMENTED, CommandLineOptions
from sysmonlx.config.event_filtering import EVENTS_BY_TAG
from sysmonlx.config.findings import Remarks
from sysmonlx.config.option_values import (
    field_sizes,
    hash_algorithms,
    list_items,
    setting_value,
    sink_value,
    switch_word,
)
from sysmonlx.config.xml_text import Node
from sysmonlx.policy import Settings, SettingValue, SinkChoice
from sysmonlx.schema.options import (
    CONTAINER,
    NAMESPACE,
    OLD_OPTIONS,
    OLD_SPELLINGS,
    OPTIONS,
    SETTINGS,
    SINK,
    WINDOWS,
    Option,
)

#: Options whose value is a list of images to include, by the tag of their event.
_LISTS = tuple(each.name for each in OPTIONS if each.is_rule and not each.force_config)
_SETTINGS = {setting.element: setting for setting in SETTINGS}
_ELEMENTS = {
    option.name: option
    for option in (*OPTIONS, *OLD_OPTIONS)
    if not option.command_line_only
}


class OptionReader:
    """The options of a file over those of the command line."""

    def __init__(
        self, remarks: Remarks, command_line: CommandLineOptions, *, lax: bool
    ) -> None:
        self._remarks = remarks
        self._switches = command_line
        self._lax = lax
        self._values: dict[str, str] = {
            name: value or "" for name, value in command_line.values.items()
        }
        self._settings: dict[str, SettingValue] = {}
        self._sinks: list[SinkChoice] = []

    def read(self, sysmon: Node) -> Settings:
        """Return the settings, Sysmon's and ours."""
        switch_hashes = self._values.get("HashAlgorithms", "")
        if switch_hashes:
            self._set("hash_algorithms", hash_algorithms, switch_hashes, 0)
        for attribute_name, attribute in sysmon.attributes.items():
            if attribute_name != "schemaversion" and "xmlns" not in attribute_name:
                self._remarks.warn(
                    f"Warning: unknown attribute {attribute_name} of Sysmon is ignored",
                    attribute.offset,
                    self._remarks.guess(attribute_name, ["schemaversion"]),
                )
        goes_on = True
        for node in sysmon.children:
            if _is_container(node, sysmon):
                self._read_own(node, is_last=node is sysmon.children[-1])
            elif node.tag != "EventFiltering" and goes_on:
                goes_on = self._read_option(node) or not self._lax
        if self._sinks:
            self._settings["sinks"] = tuple(self._sinks)
        return Settings.of(self._settings)

    def lists(self) -> dict[str, tuple[str, ...]]:
        """Return the images of NetworkConnect and the like, where there are any."""
        return {
            tag: list_items(self._values[tag])
            for tag in _LISTS
            if self._values.get(tag)
        }

    def _read_option(self, node: Node) -> bool:
        """Take one option; return False where Sysmon stops reading them."""
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
        self._take(option, node)
        return True

    def _unknown(self, node: Node) -> bool:
        if node.tag in OLD_SPELLINGS:
            self._not_implemented(node)
            return True
        advice = "Sysmon stops reading options here; sysmonlx goes on"
        if node.tag in EVENTS_BY_TAG:
            advice = "event elements stand inside EventFiltering"
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
        name, text = option.name, node.text
        if option.effect == WINDOWS:
            if option.argument != "none" or switch_word(text):
                self._not_implemented(node)
            return
        before = self._switches.values.get(name)
        if before is not None and before != text:
            self._remarks.warn(
                f"Warning: Command-line switch '{option.switch}' was overwritten by"
                f" configuration node '{node.tag}' value",
                node.offset,
            )
        self._values[name] = text
        if name == "HashAlgorithms":
            self._hash_algorithms(node)
        elif name == "FieldSizes":
            self._set("field_sizes", field_sizes, text, node.offset)
            self._settings["field_sizes_text"] = text
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

    def _hash_algorithms(self, node: Node) -> None:
        if not node.text:
            self._settings.pop("hash_algorithms", None)
            self._remarks.warn(
                "Warning: empty HashAlgorithms: SHA256 is used",
                node.offset,
                "expected sha1, md5, sha256 or *",
            )
            return
        self._set("hash_algorithms", hash_algorithms, node.text, node.offset)
        if not self._settings.get("hash_algorithms", True):
            self._remarks.warn("Warning: IMPHASH is never computed", node.offset)

    def _set(
        self,
        attribute: str,
        parse: Callable[[str], SettingValue],
        text: str,
        offset: int,
    ) -> None:
        """Take the value of an option; what it does not allow is an error."""
        try:
            self._settings[attribute] = parse(text)
        except ValueError as error:
            self._remarks.error(str(error), offset)

    def _read_own(self, container: Node, *, is_last: bool) -> None:
        if not is_last:
            self._remarks.warn(
                f"Warning: {container.tag} is not the last element of Sysmon",
                container.offset,
                "Sysmon stops reading options there",
            )
        for node in container.children:
            name = node.tag.rpartition(":")[2]
            if name != SINK and name not in _SETTINGS:
                names = (*_SETTINGS, SINK)
                self._remarks.error(
                    f"Error: Unknown setting {node.tag}",
                    node.offset,
                    self._remarks.guess(name, names) or f"expected {', '.join(names)}",
                )
                continue
            try:
                self._take_own(name, node)
            except ValueError as error:
                self._remarks.error(
                    f"Error: Incorrect value '{node.text}' for node '{node.tag}'",
                    node.offset,
                    str(error),
                )

    def _take_own(self, name: str, node: Node) -> None:
        if name == SINK:
            sink = sink_value(node.get("kind") or "", node.get("form") or "", node.text)
            self._sinks.append(sink)
            return
        setting = _SETTINGS[name]
        if setting.attribute in self._settings:
            raise ValueError("given twice")
        value = self._settings[setting.attribute] = setting_value(setting, node.text)
        if name == "Budget" and isinstance(value, int) and value > 1:
            self._remarks.warn(
                f"Warning: Budget is no share of a core any more: {value} counts as 1",
                node.offset,
                "1 lets a flood be sampled while the ring buffer is nearly full, 0,"
                " the default, never leaves anything out",
            )


def _is_container(node: Node, sysmon: Node) -> bool:
    """Return whether this is our container, by its namespace."""
    prefix, colon, name = node.tag.rpartition(":")
    attribute = f"xmlns{colon}{prefix}"
    declared = node.get(attribute)
    if declared is None and colon:
        declared = sysmon.get(attribute)
    return name == CONTAINER and declared == NAMESPACE
