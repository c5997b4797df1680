# SPDX-License-Identifier: MIT
"""Paths of control groups as runtimes make them, and as users try to."""

from __future__ import annotations

import pytest

from sysmonlx.processes.containers import NO_CONTAINER, Container, container_of

C = "0123456789abcdef" * 4
D = "fedcba9876543210" * 4
UID = "1f2e3d4c-5b6a-4798-8a9b-0c1d2e3f4a5b"
UID_ = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
POD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
OF_USER = "/user.slice/user-1000.slice/user@1000.service"

CASES = {
    # Docker: cgroup v2 with systemd, v1, with cgroupfs, with --cgroup-parent.
    f"/system.slice/docker-{C}.scope": (C, "docker", "-"),
    f"/system.slice/docker-{C}.scope/init.scope": (C, "docker", "-"),
    f"/docker/{C}": (C, "docker", "-"),
    f"/batch.slice/docker-{C}.scope": (C, "docker", "-"),
    # Docker in Docker: the outer one is what the machine runs.
    f"/system.slice/docker-{C}.scope/docker/{D}": (C, "docker", "-"),
    # Podman of root: systemd and cgroupfs; the pod's own slice; the monitor is outside.
    f"/machine.slice/libpod-{C}.scope": (C, "podman", "-"),
    f"/machine.slice/libpod-{C}.scope/container": (C, "podman", "-"),
    f"/machine.slice/machine-libpod_pod_{D}.slice/libpod-{C}.scope/container": (
        *(C, "podman"),
        "-",
    ),
    f"/libpod_parent/libpod-{C}": (C, "podman", "-"),
    f"/machine.slice/libpod-conmon-{C}.scope": ("-", "-", "-"),
    # Podman and docker of a user.
    f"{OF_USER}/user.slice/libpod-{C}.scope/container": (C, "podman-rootless", "-"),
    f"{OF_USER}/app.slice/docker-{C}.scope": (C, "docker-rootless", "-"),
    # kubelet: systemd driver by quality of service, cgroupfs, pods from files.
    f"{POD}/cri-containerd-{C}.scope": (C, "containerd", UID),
    f"{POD}/docker-{C}.scope": (C, "docker", UID),
    f"{POD}/crio-{C}.scope": (C, "cri-o", UID),
    f"{POD}/crio-{C}.scope/container": (C, "cri-o", UID),
    f"{POD}/crio-conmon-{C}.scope": ("-", "-", UID),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{C}.scope": (
        *(C, "containerd"),
        UID,
    ),
    f"/kubepods/besteffort/pod{UID}/{C}": (C, "containerd", UID),
    f"/kubepods/pod{UID}/crio-{C}": (C, "cri-o", UID),
    f"/kubepods/burstable/pod{STATIC}/{C}": (C, "containerd", STATIC),
    f"{POD}": ("-", "-", UID),
    f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice"
    f":cri-containerd:{C}": (C, "containerd", UID),
    # A node of kind: the pod inside of it is not the machine's.
    f"/system.slice/docker-{C}.scope/kubelet.slice/kubelet-kubepods.slice"
    f"/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{D}.scope": (C, "docker", "-"),
    # nerdctl, ctr; ECS, whose agent names the runtime nowhere.
    f"/system.slice/nerdctl-{C}.scope": (C, "containerd", "-"),
    f"/default/{C}": (C, "-", "-"),
    f"/ecs/{STATIC}/{C}": (C, "-", "-"),
    # lxc: version 4 and before; its monitor is outside.
    "/lxc.payload.web-1": ("web-1", "lxc", "-"),
    "/lxc.payload.web-1/system.slice/cron.service": ("web-1", "lxc", "-"),
    "/lxc/web-1/init.scope": ("web-1", "lxc", "-"),
    "/lxc.monitor.web-1": ("-", "-", "-"),
    # systemd-nspawn: as a service and by hand; a virtual machine is no container.
    r"/machine.slice/systemd-nspawn@deb\x2d12.service/payload": (
        *("deb-12", "systemd-nspawn"),
        "-",
    ),
    r"/machine.slice/machine-deb\x2d12.scope": ("deb-12", "systemd-nspawn", "-"),
    r"/machine.slice/machine-qemu\x2d1\x2dvm.scope": ("-", "-", "-"),
    # None of these is a container.
    "/": ("-", "-", "-"),
    "": ("-", "-", "-"),
    "/init.scope": ("-", "-", "-"),
    "/system.slice/docker.service": ("-", "-", "-"),
    "/system.slice/containerd.service": ("-", "-", "-"),
    "/user.slice/user-1000.slice/session-3.scope": ("-", "-", "-"),
    f"/system.slice/docker-{C[1:]}.scope": ("-", "-", "-"),
    f"/system.slice/docker-{C.upper()}.scope": ("-", "-", "-"),
    f"/system.slice/docker-{C}.scope2": ("-", "-", "-"),
    f"/system.slice/mydocker-{C}.scope": ("-", "-", "-"),
    f"/pod{UID[1:]}": ("-", "-", "-"),
}


@pytest.mark.parametrize("path", CASES)
def test_container_of_a_real_path(path: str) -> None:
    assert container_of(path) == Container(*CASES[path])


def test_user_cannot_pass_for_a_container_of_the_machine() -> None:
    """Below a user's own manager the user names groups, with a suffix from here on."""
    for inner in (f"docker-{C}.scope", f"a/b/libpod-{C}.scope", "lxc.payload.x"):
        found = container_of(f"{OF_USER}/{inner}")
        assert found.runtime.endswith("-rootless")
    assert container_of(f"{OF_USER}/{C}").runtime == "-"


def test_names_of_groups_within_a_container_change_nothing() -> None:
    outer = f"/system.slice/docker-{C}.scope"
    for inner in (f"docker-{D}.scope", f"{POD}/crio-{D}.scope", "user@0.service"):
        assert container_of(f"{outer}/{inner}") == container_of(outer)


def test_service_that_may_name_groups_passes_for_a_container() -> None:
    found = container_of(f"/system.slice/web.service/docker-{C}.scope")
    assert found == (C, "docker", "-"), "now it is told apart"


@pytest.mark.parametrize("odd", ["/" * 4095, "/a" * 2047, "//", "/\udcff", "/\n"])
def test_odd_paths_are_no_containers(odd: str) -> None:
    assert container_of(odd) == NO_CONTAINER
