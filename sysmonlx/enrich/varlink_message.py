# SPDX-License-Identifier: MIT
"""A call of systemd-resolved's socket as event 22 shows it: what a DNS message says.

varlink(7) is JSON with a NUL behind each message; the methods are those of the
interface io.systemd.Resolve. The bytes may be anything that somebody sent: every
function here ends after a bounded number of steps, and raises nothing.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice

from sysmonlx.enrich.dns_message import (
    NO_RECORDS,
    OTHER_RCODE,
    TIMED_OUT,
    Answer,
    Message,
    address_text,
    joined,
    name_text,
    read_records,
    status_of,
)
from sysmonlx.kernel_text import UNKNOWN

#: Behind a call and before its reply.
END = b"\0"

_INTERFACE = "io.systemd.Resolve."
#: QueryStatus of errors of that interface, as numbers of Windows: those that are not
#: explained elsewhere are DNS_ERROR_NO_DNS_SERVERS, ERROR_NETWORK_UNREACHABLE,
#: DNS_ERROR_BAD_PACKET, DNS_ERROR_UNSECURE_PACKET and ERROR_CANCELLED. All other errors
#: are DNS_ERROR_RCODE.
_STATUS = {
    "NoSuchResourceRecord": NO_RECORDS,
    "QueryTimedOut": TIMED_OUT,
    "MaxAttemptsReached": TIMED_OUT,
    "NoNameServers": "9852",
    "NetworkDown": "1231",
    "InvalidReply": "9502",
    "DNSSECValidationFailed": "9505",
    "QueryAborted": "1223",
}
#: Most characters of a name that is shown, and most items of a list that are looked at.
_NAME_CHARS, _ITEMS = 255, 512
_CNAME, _PTR, _SRV = 5, 12, 33

#: A JSON object: what it holds is asked before it is used.
_Object = Mapping[str, object]
_NOTHING: _Object = {}


@lru_cache(maxsize=16)
def read_call(data: bytes) -> Message | None:
    """Return what a call asks for, and what its reply says.

    `data` is the call alone, or the call, END and the reply. The result is None for a
    call that asks for no name. The status is "-" where the reply cannot be read.
    """
    call, end, reply = data.partition(END)
    asked = _object(call)
    method = _string(asked, "method")
    if asked and not method.startswith(_INTERFACE):
        return None
    asking = _ASKING.get(method.removeprefix(_INTERFACE))
    if asked and asking is None:
        return None
    name = asking[0](_part(asked, "parameters")) if asking else UNKNOWN
    key = (0, name.lower(), 0)
    if asking is None or name == UNKNOWN or not end:
        return Message(name, key, UNKNOWN, UNKNOWN, (), name != UNKNOWN)
    answered = _object(reply)
    if not answered:
        return Message(name, key, UNKNOWN, UNKNOWN, (), is_whole=False)
    if "error" in answered:
        return Message(name, key, _error(answered), UNKNOWN, (), is_whole=True)
    texts, addresses = asking[1](_part(answered, "parameters"), name)
    status = "0" if texts else NO_RECORDS
    return Message(name, key, status, joined(texts), tuple(addresses), is_whole=True)


def _object(data: bytes) -> _Object:
    """Return the JSON object in these bytes; an empty one where they are none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return _NOTHING
    return found if isinstance(found, dict) else _NOTHING


def _part(of: _Object, name: str) -> _Object:
    found = of.get(name)
    return found if isinstance(found, dict) else _NOTHING


def _string(of: _Object, name: str) -> str:
    found = of.get(name)
    return found if isinstance(found, str) else ""


def _items(of: _Object, name: str) -> list[_Object]:
    """Return the objects among the first `_ITEMS` items of a list by its name."""
    found = of.get(name)
    if not isinstance(found, list):
        return []
    return [each for each in islice(found, _ITEMS) if isinstance(each, dict)]


def _name(text: str) -> str:
    """Return a name as event 22 shows it, "-" for what can be no name."""
    if not text or len(text) > _NAME_CHARS:
        return UNKNOWN
    return name_text(text.encode("utf-8", "surrogatepass"))


def _address(of: _Object) -> bytes:
    """Return an address of 4 or 16 bytes, which is a list of numbers; empty: none."""
    found = of.get("address")
    if not isinstance(found, list) or len(found) not in (4, 16):
        return b""
    if any(type(each) is not int or not 0 <= each <= 255 for each in found):
        return b""
    return bytes(found)


def _error(answered: _Object) -> str:
    error = _string(answered, "error").removeprefix(_INTERFACE)
    if error != "DNSError":
        return _STATUS.get(error, OTHER_RCODE)
    code = _part(answered, "parameters").get("rcode")
    return status_of(code) if type(code) is int and code > 0 else OTHER_RCODE


#: Texts of QueryResults, and addresses that the name has.
_Results = tuple[list[str], list[Answer]]


def _asked_name(parameters: _Object) -> str:
    return _name(_string(parameters, "name"))


def _asked_address(parameters: _Object) -> str:
    address = _address(parameters)
    return ip_address(address).reverse_pointer if address else UNKNOWN


def _asked_service(parameters: _Object) -> str:
    parts = (_string(parameters, each) for each in ("name", "type", "domain"))
    return _name(".".join(filter(None, parts)))


def _addresses(of: _Object) -> _Results:
    found = [each for each in map(_address, _items(of, "addresses")) if each]
    return [*map(address_text, found)], [Answer(each, 0) for each in found]


def _named(kind: int, name: str) -> list[str]:
    return [f"type: {kind:2d} {name}"] if name != UNKNOWN else []


def _host(answered: _Object, asked: str) -> _Results:
    """Return the results of ResolveHostname: addresses, behind the name of an alias."""
    name = _asked_name(answered)
    texts, addresses = _addresses(answered)
    is_alias = name.lower() != asked.lower()
    return [*(_named(_CNAME, name) if is_alias else []), *texts], addresses


def _names(answered: _Object, _: str) -> _Results:
    names = map(_asked_name, _items(answered, "names"))
    return [text for each in names for text in _named(_PTR, each)], []


def _records(answered: _Object, _: str) -> _Results:
    """Return the results of ResolveRecord: its records are those of DNS, in base64."""
    texts: list[str] = []
    addresses: list[Answer] = []
    for each in _items(answered, "rrs"):
        try:
            raw = b64decode(_string(each, "raw").encode("ascii", "replace"))
        except Base64Error:
            continue
        more = read_records(raw)
        texts += more[0]
        addresses += more[1]
    return texts, addresses


def _services(answered: _Object, _: str) -> _Results:
    texts: list[str] = []
    for each in _items(answered, "services"):
        texts += _named(_SRV, _name(_string(each, "hostname")))
        texts += _addresses(each)[0]
    return texts, []


#: How each method names what it asks for, and what its reply says.
_ASKING: dict[
    str, tuple[Callable[[_Object], str], Callable[[_Object, str], _Results]]
] = {
    "ResolveHostname": (_asked_name, _host),
    "ResolveAddress": (_asked_address, _names),
    "ResolveRecord": (_asked_name, _records),
    "ResolveService": (_asked_service, _services),
}
