# SPDX-License-Identifier: MIT
"""The signature at the end of a kernel module: whether there is one, and whose it is.

It is `struct module_signature` and a mark, behind a message of PKCS #7 (RFC 5652). The
bytes are anybody's: whatever does not fit gives no name, and nothing is believed here.
Whether a signature is good the kernel says.
"""

from __future__ import annotations

from collections.abc import Iterator

from sysmonlx.kernel_text import UNKNOWN, text

_MARK = b"~Module signature appended~\n"
#: struct module_signature, include/linux/module_signature.h: its kind is the third
#: byte, the length of the message its last four.
_TRAILER_BYTES, _KIND, _PKCS7 = 12, 2, 2
#: Types of ASN.1 that are looked at, and the object identifier of a common name.
_SEQUENCE, _SET = 0x30, 0x31
_UTF16 = 0x1E
_COMMON_NAME = bytes((0x55, 0x04, 0x03))
#: Longest name that is shown, in bytes: RFC 5280 allows 64 characters.
_NAME_BYTES = 256

#: Type and content of one element.
_Element = tuple[int, bytes]


def signer_of(tail: bytes) -> str | None:
    """Return who signed a module that ends so; None: nobody did.

    It is the common name of the certificate's issuer, as modinfo(8) prints it; "-"
    where the signature does not tell one, or begins in front of `tail`.
    """
    if not tail.endswith(_MARK):
        return None
    end = len(tail) - len(_MARK) - _TRAILER_BYTES
    trailer = tail[max(end, 0) : max(end, 0) + _TRAILER_BYTES]
    size = int.from_bytes(trailer[-4:], "big")
    if end < size or trailer[_KIND : _KIND + 1] != bytes((_PKCS7,)):
        return UNKNOWN
    try:
        return _signer_in(tail[end - size : end])
    except (ValueError, IndexError):
        return UNKNOWN


def _signer_in(message: bytes) -> str:
    """Return the signer's name in a message of PKCS #7.

    Raises:
        ValueError, IndexError: it is none.
    """
    _, (_, signed_data) = _within(message, _SEQUENCE)  # ContentInfo
    *_, (kind, signers) = _within(signed_data, _SEQUENCE)
    if kind != _SET:
        raise ValueError("no signers")
    _, (named_by, issuer_and_serial), *_ = _within(signers, _SEQUENCE)
    if named_by != _SEQUENCE:
        raise ValueError("the signer is named by the number of a key")
    return _common_name(_content(issuer_and_serial, _SEQUENCE))


def _common_name(name: bytes) -> str:
    """Return the first common name of an X.501 Name."""
    for _, names in _elements(name):
        for _, pair in _elements(names):
            (_, kind), (encoding, value) = _elements(pair)
            if kind == _COMMON_NAME:
                return _shown(encoding, value[:_NAME_BYTES])
    return UNKNOWN


def _shown(encoding: int, value: bytes) -> str:
    if encoding == _UTF16:
        return value.decode("utf-16-be", "replace") or UNKNOWN
    return text(value)


def _within(data: bytes, kind: int) -> list[_Element]:
    """Return the elements of the element that `data` begins with."""
    return [*_elements(_content(data, kind))]


def _content(data: bytes, kind: int) -> bytes:
    found, content = next(_elements(data), (0, b""))
    if found != kind:
        raise ValueError("another element")
    return content


def _elements(data: bytes) -> Iterator[_Element]:
    """Yield the elements that stand one behind the other, in DER."""
    at = 0
    while at < len(data):
        kind, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("longer than what is there")
        yield kind, data[at : at + size]
        at += size
