# SPDX-License-Identifier: MIT
"""Signatures as they stand at the end of modules, made for tests."""

from __future__ import annotations

MARK = b"~Module signature appended~\n"
#: Object identifiers: signed data; a common name.
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
COMMON_NAME = bytes.fromhex("0603550403")


def element(kind: int, content: bytes) -> bytes:
    """Return an element of ASN.1 in DER."""
    size = len(content)
    if size < 0x80:
        return bytes((kind, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((kind, 0x80 | len(digits))) + digits + content


def name(common_name: bytes, encoding: int = 0x0C) -> bytes:
    """Return the parts of an X.501 Name that has a common name alone."""
    pair = COMMON_NAME + element(encoding, common_name)
    return element(0x31, element(0x30, pair))


def message(issuer: bytes, *, by: int = 0x30) -> bytes:
    """Return a message of PKCS #7 as the kernel's sign-file makes it."""
    number = element(2, b"\x01")
    algorithm = element(0x30, bytes.fromhex("0609608648016503040201"))
    who = element(by, element(0x30, issuer) + element(2, bytes(20)))
    signer = number + who + algorithm + algorithm + element(4, bytes(512))
    parts = (
        number,
        element(0x31, algorithm),
        element(0x30, bytes.fromhex("06092a864886f70d010701")),
        element(0x31, element(0x30, signer)),
    )
    signed = element(0x30, b"".join(parts))
    return element(0x30, SIGNED_DATA + element(0xA0, signed))


def appended(data: bytes) -> bytes:
    """Return a message with what stands behind it in a module."""
    return data + b"\0\0\2" + bytes(5) + len(data).to_bytes(4, "big") + MARK
