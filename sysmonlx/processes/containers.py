# SPDX-License-Identifier: MIT
"""Which container a control group belongs to, read from its path.

Runtimes name control groups after containers. Only root can make a group outside of
delegated ones, so the outermost container of a path was made by the machine's own
runtime. Names below it are chosen by processes in the container. Users may name groups
below their own `user@UID.service` as they like: a runtime there is shown with the
suffix "-rootless", so that a rule about `docker` is not about them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sysmonlx.kernel_text import UNKNOWN

ROOTLESS = "-rootless"


class Container(NamedTuple):
    """A container: id, runtime and pod; "-" each where there is none.

    `id` is the whole id of 64 hexadecimal digits; for lxc and systemd-nspawn the name.
    """

    id: str = UNKNOWN
    runtime: str = UNKNOWN
    pod_uid: str = UNKNOWN


#: Processes of the machine itself.
NO_CONTAINER = Container()

#: A component that a runtime makes with the systemd cgroup driver, and with `cgroupfs`.
_SCOPE = re.compile(
    r"(docker|libpod|crio|cri-containerd|nerdctl)-([0-9a-f]{64})\.scope"
)
_NAMED_ID = re.compile(r"(libpod|crio)-([0-9a-f]{64})")
#: containerd with the systemd driver's names, but without systemd: `slice:prefix:id`.
_COLONS = re.compile(r"(.*):(docker|crio|cri-containerd|nerdctl):([0-9a-f]{64})")
_ID = re.compile(r"[0-9a-f]{64}")
#: kubelet: `kubepods-burstable-pod1a2b_3c.slice` or, with cgroupfs, `pod1a2b-3c`.
_POD = re.compile(
    r"(?:kubepods(?:-[a-z]+)*-)?pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})"
    r"(?:\.slice)?"
)
_LXC = re.compile(r"lxc\.payload\.(.+)")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)\.service|machine-(.+)\.scope")
#: libvirt registers virtual machines, too.
_VIRTUAL_MACHINE = ("qemu-", "lxc-", "vz-", "xen-", "ch-")
_USER_MANAGER = re.compile(r"user@[0-9]+\.service")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")

_RUNTIMES = {
    "docker": "docker",
    "libpod": "podman",
    "crio": "cri-o",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
}


def container_of(path: str) -> Container:
    """Return the container of the processes in a control group.

    `path` begins at the root of the hierarchy, as in /proc/PID/cgroup.
    """
    pod_uid, is_users = UNKNOWN, False
    parts = path.split("/")
    for at, part in enumerate(parts[1:], 1):
        if _USER_MANAGER.fullmatch(part):
            is_users = True
            continue
        if found := _COLONS.fullmatch(part):
            part = f"{found[2]}-{found[3]}.scope"
            pod_uid = _pod_uid(found[1]) or pod_uid
        if pod := _pod_uid(part):
            pod_uid = pod
        elif named := _named(part, parts[at - 1], pod_uid != UNKNOWN):
            name, runtime = named
            if is_users and runtime != UNKNOWN:
                runtime += ROOTLESS
            return Container(name, runtime, pod_uid)
    return NO_CONTAINER._replace(pod_uid=pod_uid)


def _named(part: str, parent: str, is_in_pod: bool) -> tuple[str, str] | None:
    """Return name and runtime of the container whose own component this is."""
    if found := _SCOPE.fullmatch(part) or _NAMED_ID.fullmatch(part):
        return found[2], _RUNTIMES[found[1]]
    if _ID.fullmatch(part):
        return part, _by_parent(parent, is_in_pod)
    if found := _LXC.fullmatch(part):
        return found[1], "lxc"
    if parent == "lxc" and part:
        return part, "lxc"
    if (found := _NSPAWN.fullmatch(part)) and parent == "machine.slice":
        name = _ESCAPED.sub(_byte, found[1] or found[2])
        return None if name.startswith(_VIRTUAL_MACHINE) else (name, "systemd-nspawn")
    return None


def _by_parent(parent: str, is_in_pod: bool) -> str:
    """Return the runtime of a group that has a bare id for a name."""
    if parent == "docker":
        return "docker"
    if parent in ("libpod_parent", "libpod"):
        return "podman"
    # Below a pod docker and containerd look alike. Since version 1.24 of 2022 kubelet
    # does without docker.
    return "containerd" if is_in_pod else UNKNOWN


def _pod_uid(part: str) -> str:
    """Return the UID of the pod whose component this is, "" of any other.

    As Kubernetes writes it. Pods from files on the node have 32 digits without hyphens.
    """
    found = _POD.fullmatch(part)
    return found[1].replace("_", "-") if found else ""


def _byte(found: re.Match[str]) -> str:
    r"""Return what stands for an escape of systemd.unit(5), as `\x2d`."""
    return chr(int(found[1], 16))
