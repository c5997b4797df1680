# SPDX-License-Identifier: MIT
"""The capabilities of a program's file as text, as getcap(8) shows them."""

from __future__ import annotations

import struct

#: By their numbers: <linux/capability.h>.
CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill"),
    *("setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service"),
    *("net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct"),
    *("sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time"),
    *("sys_tty_config", "mknod", "lease", "audit_write", "audit_control"),
    *("setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm"),
    *("block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"),
)
_ALL = (1 << len(CAPABILITIES)) - 1

#: struct vfs_cap_data and vfs_ns_cap_data, by the revision in the highest byte of their
#: first word: permitted and inheritable ones in halves of 32, then the root user's id.
_FORMS = {
    1: struct.Struct("<III"),
    2: struct.Struct("<IIIII"),
    3: struct.Struct("<IIIIII"),
}
_EFFECTIVE = 1


def capabilities_text(value: bytes) -> str:
    """Return "cap_net_raw=ep" of a value of security.capability; "": it is none.

    Groups of capabilities that have the same letters follow each other: e effective, i
    inheritable, p permitted. All that this program knows are "=ep". Of a value for a
    user namespace " [rootid=1000]" names its root.
    """
    if len(value) < 4:
        return ""
    (magic,) = struct.unpack_from("<I", value)
    form = _FORMS.get(magic >> 24)
    if form is None or form.size != len(value):
        return ""
    words = form.unpack(value)
    permitted, inheritable = words[1], words[2]
    if magic >> 24 > 1:
        permitted, inheritable = words[1] | words[3] << 32, words[2] | words[4] << 32
    root = f" [rootid={words[5]}]" if magic >> 24 == 3 and words[5] else ""
    text = _groups(permitted, inheritable, bool(magic & _EFFECTIVE))
    return f"{text}{root}"


def _groups(permitted: int, inheritable: int, is_effective: bool) -> str:
    """Return the groups; "=" where there is no capability at all."""
    groups: dict[str, list[int]] = {}
    for number in range(64):
        has = permitted >> number & 1, inheritable >> number & 1
        if any(has):
            letters = "e" * is_effective + "i" * has[1] + "p" * has[0]
            groups.setdefault(letters, []).append(number)
    return " ".join(map(_group, groups, groups.values())) or "="


def _group(letters: str, numbers: list[int]) -> str:
    if sum(1 << number for number in numbers) == _ALL:
        return f"={letters}"
    return f"{','.join(map(_name, numbers))}={letters}"


def _name(number: int) -> str:
    if number < len(CAPABILITIES):
        return f"cap_{CAPABILITIES[number]}"
    return str(number)
