# SPDX-License-Identifier: MIT
"""The second opinion on a configuration: XML as such, and the XSD.

The reader judged the configuration before. Findings of the schema beyond those are
warnings. lxml and xmlschema are imported only here and only when called: the service
must not carry them (0.3 s and 30 MB). xmlschema explains a finding better, but takes
half a second to load: it is asked only where libxml2 has found something.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sysmonlx.config.findings import Remarks
from sysmonlx.config.xml_text import Node
from sysmonlx.schema.versions import schema_data
from sysmonlx.schema.xsd import MAIN

if TYPE_CHECKING:
    from lxml.etree import XMLSchema, _Element
    from xmlschema import XMLSchema10, XMLSchemaValidationError

#: Elements and attributes; validating costs 0.1 ms each, so larger files go without.
MAX_PARTS = 5000
_MAX_BYTES = 1 << 20
#: Attributes of this namespace name schemas, which libxml2 would go and read.
_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"


def validate(text: str, sysmon: Node, remarks: Remarks) -> None:
    """Add a warning for each line that is not as the schema wants it."""
    if len(text) > _MAX_BYTES or _is_large(sysmon):
        return
    root = _strict_root(text, remarks)
    if root is None:
        return
    if _is_valid(root):
        return
    known = {finding.line for finding in remarks.found}
    for error in _schema().iter_errors(root):
        line = _line(error)
        if line not in known:
            known.add(line)
            remarks.warn_line(f"Warning: not as in the schema: {error.reason}", line)


def _line(error: XMLSchemaValidationError) -> int:
    """Return the line of an element in the wrong place, else of the one it concerns."""
    element, index = error.elem, getattr(error, "index", None)
    if element is None:
        return 0
    if index is not None and index < len(element):
        element = element[index]
    return getattr(element, "sourceline", None) or 0


def _is_valid(root: _Element) -> bool:
    """Return whether libxml2 finds nothing; False too where it must not be asked."""
    names = (str(name) for each in root.iter() for name in each.attrib)
    if any(name.startswith(_INSTANCE) for name in names):
        return False
    return bool(_fast_schema().validate(root))


@cache
def _fast_schema() -> XMLSchema:
    """Return our schema as libxml2 has it."""
    from lxml import etree

    parser = etree.XMLParser(no_network=True)
    return etree.XMLSchema(etree.parse(str(schema_data(MAIN)), parser))


@cache
def _schema() -> XMLSchema10:
    """Return our schema, itself not validated again: a test does that."""
    import xmlschema

    return xmlschema.XMLSchema10(
        str(schema_data(MAIN)), allow="local", validation="skip"
    )


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
    """Return whether a tree has too many elements, or attributes (also quadratic)."""
    open_nodes = [node]
    parts = 0
    while open_nodes and parts <= MAX_PARTS:
        last = open_nodes.pop()
        parts += 1 + len(last.attributes)
        open_nodes += last.children
    return parts > MAX_PARTS
