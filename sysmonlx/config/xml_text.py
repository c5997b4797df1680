# SPDX-License-Identifier: MIT
"""The bytes of a configuration to a tree, with Sysmon's tolerance and positions.

Sysmon reads with a small non-validating parser: no DTD, no entities but the five
predefined ones, the text of an element is its first text or CDATA child. This scanner
has the same rules and error texts, knows the place of every element and attribute, and
cannot expand or fetch anything, whatever it is given.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

#: Limits that keep the reading of every file below a second and 100 MB. Real files have
#: a tenth of that.
MAX_BYTES = 4 << 20
MAX_ELEMENTS = 40_000
MAX_ATTRIBUTES = 2 * MAX_ELEMENTS
MAX_DEPTH = 64
_HEAD_BYTES = 2048
_BLANKS = " \t\r\n"
_NAME = "(?:[A-Za-z_:]|[^\\x00-\\x7f])(?:[A-Za-z0-9_:.-]|[^\\x00-\\x7f])*"
_START = re.compile(f"<({_NAME})")
_END = re.compile(f"</({_NAME})[{_BLANKS}]*>")
_ATTRIBUTE = re.compile(
    f"[{_BLANKS}]+({_NAME})[{_BLANKS}]*=[{_BLANKS}]*(?:\"([^\"]*)\"|'([^']*)')"
)
#: An attribute whose value is in no quotes, or in those of a word processor.
_UNQUOTED = re.compile(f"[{_BLANKS}]*({_NAME})[{_BLANKS}]*=?[{_BLANKS}]*(.?)")
_CURLED_QUOTES = ("\u201c", "\u201d", "\u201e", "\u2018", "\u2019")
_CLOSE = re.compile(f"[{_BLANKS}]*(/?)>")
_BLANK_IN_VALUE = re.compile("[\t\r\n]")
_REFERENCE = re.compile(
    "&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,10})|#x([0-9a-fA-F]{1,8}));"
)
_PREDEFINED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_DTD_PART = re.compile("<!--.*?-->|\"[^\"]*\"|'[^']*'|[<>]", re.S)
_LATIN_1 = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']iso-8859-1[\"']", re.I)
_DECLARATION = re.compile(r"<\?xml\s[^>]*\?>")


@dataclass(slots=True)
class Attribute:
    """One attribute and the offset of its name."""

    value: str
    offset: int


@dataclass(slots=True)
class Node:
    """One element; `text` is its first text or CDATA child, as Sysmon has it."""

    tag: str
    offset: int
    attributes: dict[str, Attribute] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    text: str = ""
    has_text: bool = False
    lost_at: int = -1
    """Where text behind the first one begins, which is not read; -1: there is none."""

    def get(self, name: str) -> str | None:
        """Return the value of an attribute, None when it is absent."""
        found = self.attributes.get(name)
        return found.value if found else None


_NO_ELEMENT = "a configuration is XML, from <Sysmon on"
_NO_TAG = "in a text, write &lt; for <"
#: First bytes of files that are no configuration, and what such a file is.
_KINDS = (
    (b"\x1f\x8b", "a gzip file: unpack it"),
    (b"PK\3\4", "a zip archive: unpack it"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
    (b"{", "JSON; a configuration is XML"),
    (b"[", "JSON; a configuration is XML"),
)


def _no_xml(head: bytes) -> str:
    """Return what a file without "<" seems to be."""
    start = head.lstrip(b" \t\r\n")
    for begin, kind in _KINDS:
        if start.startswith(begin):
            return f"this is {kind}"
    if re.match(rb"(---\s|\w[\w -]*:(\s|$))", start):
        return "this looks like YAML; a configuration is XML"
    return f"no '<' in the first 2048 bytes: {_NO_ELEMENT}"


def _dtd_advice(text: str, at: int) -> str:
    if re.match(r"<!DOCTYPE\s+html\b", text[at : at + 64], re.IGNORECASE):
        return "this is a web page: save the file itself, not the page that shows it"
    return "neither DTDs nor entities are read or expanded; remove <!DOCTYPE>"


def _wide_advice(text: str) -> str:
    """Return what a text with NUL bytes seems to be."""
    if text.count("\0") * 3 > len(text):
        return "this looks like UTF-16BE or UTF-32: save it as UTF-8"
    return "NUL byte"


def _attribute_advice(text: str, at: int) -> str:
    """Return how to write the attribute that begins behind the blanks at `at`."""
    found = _UNQUOTED.match(text, at)
    if found is None:
        return ""
    straight = ", in straight quotes" if found[2] in _CURLED_QUOTES else ""
    return f'an attribute is written {found[1]}="value"{straight}'


class XmlError(Exception):
    """The text is not usable; `reason` is in Sysmon's words where it has some."""

    def __init__(
        self, reason: str, offset: int, advice: str = "", *, is_limit: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.advice = advice
        self.is_limit = is_limit


class Places:
    """Offsets of a text to line and column, both from 1."""

    def __init__(self, text: str) -> None:
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._starts = list(accumulate(lengths, initial=0))[:-1]

    def of(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def decode(data: bytes) -> str:
    """Return the text from its first "<" on the same lines, in Sysmon's encodings.

    UTF-16LE with or without mark, Latin-1 when declared, else UTF-8; bytes that are no
    UTF-8 become lone surrogates, as in values that come from the kernel. Text before
    the first "<" becomes blanks, and so does the XML declaration.

    Raises:
        XmlError: there is no "<" in the first 2048 bytes, or the data is too large.
    """
    if len(data) > MAX_BYTES:
        raise XmlError(
            f"larger than {MAX_BYTES} bytes",
            0,
            "remove what it needs not",
            is_limit=True,
        )
    head = data[:_HEAD_BYTES]
    has_mark = chr(data[0]) not in "<" + _BLANKS
    if data[0] == 0xFF if has_mark else data[1] == 0:
        text = data[: len(data) & ~1].decode("utf-16-le", errors="replace")
        limit = _HEAD_BYTES // 2
    else:
        is_latin_1 = _LATIN_1.search(head) is not None
        text = data.decode("latin-1" if is_latin_1 else "utf-8", "surrogateescape")
        limit = len(head.decode("latin-1" if is_latin_1 else "utf-8", "replace"))
    start = text.find("<", 0, limit)
    if start < 0:
        raise XmlError("Too much white space", 0, _no_xml(head))
    declaration = _DECLARATION.match(text, start)
    content = declaration.end() if declaration else start
    text = re.sub(r"[^\n]", " ", text[:content]) + text[content:]
    return text.rstrip("\0").replace("\r\n", "\n").replace("\r", "\n")


def unescape(text: str) -> str:
    """Replace character references and the five predefined entities, nothing else."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return _PREDEFINED[found[1]]
    code = int(found[2]) if found[2] else int(found[3], 16)
    is_character = 0 < code < 0x110000 and not 0xD800 <= code < 0xE000
    return chr(code) if is_character else found[0]


def scan(text: str, *, skip_dtd: bool = False) -> Node:
    """Return a node whose children are the top-level elements of the text.

    Raises:
        XmlError: the text is not well-formed in Sysmon's sense, has a document type
            declaration (unless skipped), or exceeds a limit.
    """
    return _Scanner(text, skip_dtd=skip_dtd).run()


class _Scanner:
    """A cursor over the text, and the elements that are open there."""

    def __init__(self, text: str, *, skip_dtd: bool) -> None:
        self.text = text
        self.at = 0
        self.skip_dtd = skip_dtd
        self.open = [Node("", 0)]
        self.elements = 0
        self.attributes = 0

    def run(self) -> Node:
        """Return the document: a nameless node over the top-level elements."""
        text, size = self.text, len(self.text)
        if "\0" in text:
            at = text.index("\0")
            raise XmlError("Error parsing PCDATA section", at, _wide_advice(text))
        while True:
            self._take_text()
            if self.at >= size:
                break
            if text.startswith("</", self.at):
                self._take_end()
            elif text.startswith(("<!", "<?"), self.at):
                self._take_markup()
            else:
                self._take_start()
        if len(self.open) > 1:
            raise XmlError("Start-end tags mismatch", size, self._not_closed())
        if not self.open[0].children:
            raise XmlError("No document element found", 0, _NO_ELEMENT)
        return self.open[0]

    def _take_text(self) -> None:
        end = self.text.find("<", self.at)
        end = len(self.text) if end < 0 else end
        node = self.open[-1]
        if node.lost_at < 0 and end > self.at:
            piece = self.text[self.at : end]
            if piece.strip(_BLANKS):
                self._add_text(node, unescape(piece), self.at)
        self.at = end

    def _add_text(self, node: Node, text: str, at: int) -> None:
        """Give an element its text; text behind the first one is lost."""
        if not node.has_text:
            node.text, node.has_text = text, True
        elif node.lost_at < 0:
            node.lost_at = at

    def _take_end(self) -> None:
        found = _END.match(self.text, self.at)
        if not found:
            raise XmlError("Error parsing end element tag", self.at)
        if found[1] != self.open[-1].tag or len(self.open) == 1:
            raise XmlError("Start-end tags mismatch", self.at, self._not_closed())
        self.open.pop()
        self.at = found.end()

    def _not_closed(self) -> str:
        tag = self.open[-1].tag
        return f"</{tag}> was expected" if tag else "nothing is open here"

    def _take_start(self) -> None:
        found = _START.match(self.text, self.at)
        if not found:
            raise XmlError("Could not determine tag type", self.at, _NO_TAG)
        node = Node(found[1], self.at)
        end = self._take_attributes(node, found.end())
        close = _CLOSE.match(self.text, end)
        if not close:
            is_attribute = end > found.end() or self.text[end : end + 1] in [*_BLANKS]
            part = "element attribute" if is_attribute else "start element tag"
            advice = _attribute_advice(self.text, end)
            raise XmlError(f"Error parsing {part}", end, advice)
        self.at = close.end()
        self._add(node, is_empty=bool(close[1]))

    def _take_attributes(self, node: Node, at: int) -> int:
        while found := _ATTRIBUTE.match(self.text, at):
            name, quoted, apostrophed = found.groups()
            if name not in node.attributes:
                value = quoted if quoted is not None else apostrophed
                value = unescape(_BLANK_IN_VALUE.sub(" ", value))
                node.attributes[name] = Attribute(value, found.start(1))
                self.attributes += 1
                if self.attributes > MAX_ATTRIBUTES:
                    raise XmlError(f"more than {MAX_ATTRIBUTES} attributes", at)
            at = found.end()
        return at

    def _add(self, node: Node, *, is_empty: bool) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise XmlError(f"more than {MAX_ELEMENTS} elements", node.offset)
        if len(self.open) > MAX_DEPTH:
            raise XmlError(f"nested deeper than {MAX_DEPTH} elements", node.offset)
        self.open[-1].children.append(node)
        if not is_empty:
            self.open.append(node)

    def _take_markup(self) -> None:
        text, at = self.text, self.at
        if text.startswith("<!--", at):
            self._skip("-->", 4, "comment")
        elif text.startswith("<![CDATA[", at):
            self._skip("]]>", 9, "CDATA section")
            self._add_text(self.open[-1], text[at + 9 : self.at - 3], at)
        elif text.startswith("<!DOCTYPE", at):
            self._take_dtd()
        elif text.startswith("<?", at):
            self._skip("?>", 2, "document declaration/processing instruction")
        else:
            raise XmlError("Could not determine tag type", at, _NO_TAG)

    def _skip(self, end: str, size: int, what: str) -> None:
        found = self.text.find(end, self.at + size)
        if found < 0:
            raise XmlError(f"Error parsing {what}", self.at)
        self.at = found + len(end)

    def _take_dtd(self) -> None:
        """Refuse a document type declaration, or step over it without reading it."""
        if not self.skip_dtd:
            raise XmlError(
                "document type declaration",
                self.at,
                _dtd_advice(self.text, self.at),
            )
        depth = 0
        for found in _DTD_PART.finditer(self.text, self.at):
            depth += (found[0] == "<") - (found[0] == ">")
            if not depth:
                self.at = found.end()
                return
        raise XmlError("Error parsing document type declaration", self.at)
