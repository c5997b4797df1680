# SPDX-License-Identifier: MIT
"""The settings of our own: the elements of the container, the last child of Sysmon.

Here nothing is tolerated: an unknown setting and a wrong value are errors.
"""

from __future__ import annotations

from sysmonlx.config.findings import Remarks
from sysmonlx.config.option_values import (
    RULE_WORDS,
    UnknownFieldError,
    rules_value,
    setting_value,
)
from sysmonlx.config.sink_values import is_for_hits, sink_value
from sysmonlx.config.xml_text import Node
from sysmonlx.policy import RulesChoice, SettingValue, SinkChoice, least_limit
from sysmonlx.schema.events import APPENDED
from sysmonlx.schema.options import (
    CONTAINER,
    NAMESPACE,
    RULES,
    RULES_LIMIT,
    SETTINGS,
    SINK,
)

_SETTINGS = {setting.element: setting for setting in SETTINGS}
#: Elements that stand inside our container.
NAMES = (*_SETTINGS, SINK, RULES)


def is_container(node: Node, sysmon: Node) -> bool:
    """Return whether a child of Sysmon is our container: by name and namespace."""
    prefix, colon, name = node.tag.rpartition(":")
    attribute = f"xmlns{colon}{prefix}"
    declared = node.get(attribute)
    if declared is None and colon:
        declared = sysmon.get(attribute)
    return name == CONTAINER and declared == NAMESPACE


class OwnSettings:
    """Reads containers; a file may have several."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._values: dict[str, SettingValue] = {}
        self._sinks: list[SinkChoice] = []
        self._line_limit: Node | None = None
        self._hit_sinks: list[SinkChoice] = []
        self._rules: list[RulesChoice] = []

    def values(self) -> dict[str, SettingValue]:
        """Return what was read, by attribute of `policy.Settings`."""
        found = self._values | {"rules": tuple(self._rules)}
        if self._sinks or self._hit_sinks:
            found["sinks"] = tuple(self._sinks)
            found["hit_sinks"] = tuple(self._hit_sinks)
        return found

    def read(self, container: Node) -> None:
        """Take every setting of a container."""
        for node in container.children:
            name = node.tag.rpartition(":")[2]
            if name not in NAMES:
                self._remarks.error(
                    f"Error: Unknown setting {node.tag}",
                    node.offset,
                    self._remarks.guess(name, NAMES) or f"expected {', '.join(NAMES)}",
                )
                continue
            self._remarks.warn_of_lost_text(node)
            try:
                self._take(name, node)
            except UnknownFieldError as error:
                self._remarks.error(
                    f"Error: Unknown field {error.name} in {node.tag}",
                    node.offset,
                    self._remarks.guess(error.name, APPENDED) or str(error),
                )
            except ValueError as error:
                self._remarks.error(
                    f"Error: Incorrect value '{node.text}' for node '{node.tag}'",
                    node.offset,
                    str(error),
                )
        self._check_line_limit()

    def _check_line_limit(self) -> None:
        """Remark a limit that is too small for the fields that events are to have."""
        node, fields = self._line_limit, self._values.get("appended_fields", ())
        assert isinstance(fields, tuple)
        limit = self._values.get("line_limit_bytes", 0)
        least = least_limit(fields)
        if node is not None and isinstance(limit, int) and 0 < limit < least:
            self._remarks.error(
                f"Error: Incorrect value '{node.text}' for node '{node.tag}'",
                node.offset,
                f"with {len(fields)} names in Fields a line needs {least} bytes",
            )

    def _take(self, name: str, node: Node) -> None:
        """Take one setting.

        Raises:
            ValueError: says what is allowed.
        """
        if name == SINK:
            self._take_sink(node)
            return
        if name == RULES:
            self._take_rules(node)
            return
        setting = _SETTINGS[name]
        if setting.attribute in self._values:
            raise ValueError("given twice")
        value = self._values[setting.attribute] = setting_value(setting, node.text)
        if name == "LineLimit":
            self._line_limit = node
        if name == "Budget" and isinstance(value, int) and value > 1:
            self._remarks.warn(
                f"Warning: Budget is no share of a core any more: {value} counts as 1",
                node.offset,
                "1 lets a flood be sampled while the ring buffer is nearly full, 0,"
                " the default, never leaves anything out",
            )

    def _take_sink(self, node: Node) -> None:
        """Take a sink.

        Raises:
            ValueError: says what is allowed.
        """
        words = {name: each.value for name, each in node.attributes.items()}
        sinks = (self._sinks, self._hit_sinks)[is_for_hits(words.get("hits", ""))]
        sink = sink_value(words, node.text)
        if sink.kind == "socket" and any(
            each.kind == "socket" and each.place == sink.place
            for each in (*self._sinks, *self._hit_sinks)
        ):
            raise ValueError(f"{sink.place} is a sink already; one socket has one form")
        sinks.append(sink)

    def _take_rules(self, node: Node) -> None:
        """Take rules of Sigma.

        Raises:
            ValueError: says what is allowed.
        """
        action, level, status = (node.get(name) or "" for name in RULE_WORDS)
        choice = rules_value(action, level, status, node.text)
        if choice[0] in [path for path, *_ in self._rules]:
            raise ValueError("given twice")
        if len(self._rules) == RULES_LIMIT:
            raise ValueError(f"{RULES_LIMIT} of them at most")
        self._rules.append(choice)
