# SPDX-License-Identifier: MIT
"""The second opinion on a configuration: XML as such, and the XSD.

The reader has judged the file before. What libxml2 finds beyond that are warnings. lxml
is imported here only, when it is called: the service must not carry it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from sysmonlx.config.findings import Remarks
from sysmonlx.config.xml_text import Node
from sysmonlx.schema.versions import schema_data
from sysmonlx.schema.xsd import MAIN

if TYPE_CHECKING:
    from lxml.etree import XMLSchema, _Element

#: Larger files go without this check. The time that libxml2 takes grows with the square
#: of the errors that it finds: 0.2 s for 5,000, 12 s for 39,000.
MAX_PARTS = 5000
_MAX_BYTES = 1 << 20
#: Attributes of this namespace name schemas, which libxml2 would go and read.
_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"


class _Error(Protocol):
    """An entry of libxml2's log."""

    line: int
    message: str


def validate(text: str, sysmon: Node, remarks: Remarks) -> None:
    """Add a warning for each line that is not as the schema wants it.

    Lines about which there is a remark already get no other one.
    """
    if len(text) > _MAX_BYTES or _is_large(sysmon):
        return
    root = _strict_root(text, remarks)
    if root is None:
        return
    known = {finding.line for finding in remarks.found}
    for line, message in errors(root):
        if line not in known:
            known.add(line)
            remarks.warn_line(f"Warning: not as in the schema: {message}", line)


def errors(root: _Element) -> list[tuple[int, str]]:
    """Return line and text of each difference from the schema, in document order.

    Attributes that name other schemas are taken out of the tree: nothing reads those.
    """
    for element in root.iter():
        for name in [each for each in element.attrib if _names_a_schema(each)]:
            del element.attrib[name]
    schema = _schema()
    if schema.validate(root):
        return []
    log = cast("Iterable[_Error]", schema.error_log)  # the stubs know nothing of it
    return [(error.line, error.message) for error in log]


def _names_a_schema(attribute: str | bytes) -> bool:
    return str(attribute).startswith(_INSTANCE)


@cache
def _schema() -> XMLSchema:
    """Return our schema; a test proves it with another program."""
    from lxml import etree

    parser = etree.XMLParser(no_network=True)
    return etree.XMLSchema(etree.parse(str(schema_data(MAIN)), parser))


def _strict_root(text: str, remarks: Remarks) -> _Element | None:
    """Return the root element; None, with a warning, where XML is stricter than Sysmon.

    The parser resolves no entity, loads no DTD, opens no network connection and keeps
    libxml2's limits.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=False,
    )
    data = text.lstrip(" ").encode("utf-8", "surrogateescape")
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        remarks.warn_line(
            f"Warning: not well-formed XML, though Sysmon reads it: {error.msg}",
            error.lineno or 0,
        )
        return None


def _is_large(node: Node) -> bool:
    """Return whether a tree has more elements and attributes than are checked."""
    open_nodes = [node]
    parts = 0
    while open_nodes and parts <= MAX_PARTS:
        last = open_nodes.pop()
        parts += 1 + len(last.attributes)
        open_nodes += last.children
    return parts > MAX_PARTS
