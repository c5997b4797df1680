# SPDX-License-Identifier: MIT
"""container/: what it asks for is what the program needs, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from support.configurations import read

from sysmonlx.host.capabilities import KEPT, NAMES

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "container"
PARTS = [*yaml.safe_load_all((FOLDER / "daemonset.yaml").read_text())]
POD = next(each for each in PARTS if each["kind"] == "DaemonSet")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
#: For locked memory on kernels before 5.11; given up with the start.
AT_THE_START = {"SYS_RESOURCE"}


def test_container_is_confined_to_what_the_service_keeps() -> None:
    context = CONTAINER["securityContext"]
    wanted = {NAMES[number] for number in KEPT} | AT_THE_START
    assert set(context["capabilities"]["add"]) == wanted
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert POD["spec"]["hostPID"] is True


def test_page_and_manifest_ask_for_the_same() -> None:
    page = (ROOT / "docs" / "containers.md").read_text()
    added = set(re.findall(r"--cap-add=(\w+)", page))
    assert added == set(CONTAINER["securityContext"]["capabilities"]["add"])


def test_every_mount_has_its_volume() -> None:
    volumes = {each["name"] for each in POD["spec"]["volumes"]}
    assert {each["name"] for each in CONTAINER["volumeMounts"]} == volumes


def test_configurations_write_to_standard_output() -> None:
    (of_map,) = (each["data"] for each in PARTS if each["kind"] == "ConfigMap")
    for text in (of_map["config.xml"], (FOLDER / "config.xml").read_text()):
        policy, remarks = read(text)
        assert [each.kind for each in policy.settings.sinks] == ["stdout"]
        assert not remarks


def test_files_that_are_copied_exist() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    for name in re.findall(r"^COPY (?:--\S+ )?(container/\S+)", text, re.MULTILINE):
        assert (ROOT / name).exists()
    entry = FOLDER / "entrypoint.sh"
    assert entry.stat().st_mode & 0o111
    assert "/entrypoint.sh" in text
