# SPDX-License-Identifier: MIT
"""The documents of a YAML file, with the line of each key, in bounded time and memory.

Events come first, one after the other: they tell how deep and how large the file is
before a tree is made of it. An alias counts as much as it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from sysmonlx.config.sigma.notes import RuleError

#: The largest file, in bytes.
LIMIT_BYTES = 1 << 20
_ANCHORS = 64
_DEPTH = 24
#: Nodes of all documents of a file, each alias with all that it stands for.
_NODES = 200_000
_DIGITS = 40

#: Values of YAML that are read; dates stay texts.
Value: TypeAlias = "str | int | float | bool | list[Value] | Mapping[str, Value] | None"


@dataclass(frozen=True, slots=True)
class Document:
    """One document. `line` is the line of its first key; `node` knows all others."""

    line: int
    value: Mapping[str, Value]
    node: yaml.MappingNode


class _Loader(yaml.CSafeLoader):
    """Makes plain values; a date stays the text that it was written as."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return loader.construct_yaml_str(node)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    if len(node.value) > _DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of more than {_DIGITS} digits", node.start_mark
        )
    if node.tag.endswith(":int"):
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


_TAG = "tag:yaml.org,2002:"
_Loader.add_constructor(f"{_TAG}timestamp", _text)
_Loader.add_constructor(f"{_TAG}int", _number)
_Loader.add_constructor(f"{_TAG}float", _number)


def documents_of(data: bytes) -> Iterator[Document | RuleError]:
    """Yield the documents of a file, or why one cannot be used; no empty ones.

    Raises:
        RuleError: it is no YAML, or too much of it.
    """
    if len(data) > LIMIT_BYTES:
        raise RuleError(f"the file has more than {LIMIT_BYTES >> 10} KiB")
    try:
        text = data.decode("utf-8-sig")
        _check_events(text)
        yield from _composed(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RuleError("the file is not in UTF-8", line) from None
    except yaml.YAMLError as error:
        raise _no_yaml(error) from None


def _no_yaml(error: yaml.YAMLError) -> RuleError:
    if not isinstance(error, yaml.MarkedYAMLError):
        return RuleError(f"no YAML: {error}")
    mark = error.problem_mark or error.context_mark
    reason = error.problem or error.context or "cannot be read"
    return RuleError(f"no YAML: {reason}", 0 if mark is None else mark.line + 1)


def _check_events(text: str) -> None:
    depth = anchors = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        anchors += bool(isinstance(event, yaml.NodeEvent) and event.anchor)
        if depth > _DEPTH:
            raise RuleError(f"nested deeper than {_DEPTH}", line)
        if anchors > _ANCHORS:
            raise RuleError(f"more than {_ANCHORS} anchors and aliases", line)
        if nodes > _NODES:
            raise RuleError(f"more than {_NODES} values", line)


def _composed(text: str) -> Iterator[Document | RuleError]:
    loader = _Loader(text)
    left = _NODES
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said that there is one
            try:
                left -= _size(node, {}, 0)
                if left < 0:
                    raise RuleError("aliases stand for too much", _line(node))
                document = _constructed(loader, node)
            except yaml.YAMLError as error:
                yield _no_yaml(error)
            except RuleError as error:
                yield error
            except (ValueError, OverflowError) as error:
                yield RuleError(f"no YAML: {error}", _line(node))
            else:
                yield from [document] if document else []
    finally:
        loader.dispose()


def _constructed(loader: _Loader, node: yaml.Node) -> Document | None:
    value = loader.construct_document(node)
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(node, yaml.MappingNode):
        raise RuleError("a rule is a mapping of keys to values", _line(node))
    return Document(_line(node), value, node)


def _size(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Return how many nodes a tree has; check its keys, and that it ends.

    `sizes` are those of trees that are known; 0 is one that this call lies within.
    """
    if depth > _DEPTH:
        raise RuleError(f"nested deeper than {_DEPTH}", _line(node))
    known = sizes.get(id(node))
    if known == 0:
        raise RuleError("an alias stands for itself", _line(node))
    if known is None:
        sizes[id(node)] = 0
        known = 1 + sum(_size(each, sizes, depth + 1) for each in _parts(node))
        sizes[id(node)] = min(known, _NODES + 1)
    return known


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    seen: set[str] = set()
    for (key, _), name in zip(node.value, keys, strict=False):
        if len(keys) < len(node.value) or key.tag not in _KEY_TAGS:
            raise RuleError("a key is no text", _line(node))
        if name in seen:
            raise RuleError(f"the key {name!r:.80} is given twice", _line(key))
        seen.add(name)
    return [each for pair in node.value for each in pair]


_KEY_TAGS = (f"{_TAG}str", f"{_TAG}merge")


def _line(node: yaml.Node) -> int:
    return 0 if node.start_mark is None else node.start_mark.line + 1


def key_line(node: yaml.Node, *path: str | int) -> int:
    """Return the line of a key, or of an item of a list, below a node.

    Of a path that does not lead so far, the line of the last step that is there.
    """
    line = _line(node)
    for step in path:
        found = _step(node, step)
        if found is None:
            break
        line, node = found
    return line


def _step(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(step, int):
        if not isinstance(node, yaml.SequenceNode) or step >= len(node.value):
            return None
        return _line(node.value[step]), node.value[step]
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == step:
            return _line(key), value
    return None
