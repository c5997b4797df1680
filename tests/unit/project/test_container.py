# SPDX-License-Identifier: MIT
"""container/: what it asks for is what the program needs, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


#: Fields of the Kubernetes API (v1, apps/v1) that the manifest may have, and the values
#: where only some are valid.
KNOWN = {
    "apiVersion": {"v1", "apps/v1"},
    "kind": {"Namespace", "ConfigMap", "DaemonSet"},
    **{f"metadata.{name}": None for name in ("name", "namespace", "labels.*")},
    **{"data.*": None, "spec.selector.matchLabels.*": None},
    "spec.template.metadata.labels.*": None,
    **{
        f"spec.template.spec.{way}": values
        for way, values in {
            **{"automountServiceAccountToken": None, "hostPID": None},
            **{"nodeSelector.*": None, "terminationGracePeriodSeconds": None},
            "priorityClassName": {"system-node-critical", "system-cluster-critical"},
            "tolerations[].operator": {"Exists", "Equal"},
            **{"containers[].name": None, "containers[].image": None},
            "containers[].securityContext.runAsUser": None,
            "containers[].securityContext.privileged": None,
            "containers[].securityContext.allowPrivilegeEscalation": None,
            "containers[].securityContext.readOnlyRootFilesystem": None,
            "containers[].securityContext.capabilities.drop[]": None,
            "containers[].securityContext.capabilities.add[]": None,
            "containers[].securityContext.seccompProfile.type": {
                *("RuntimeDefault", "Unconfined", "Localhost")
            },
            "containers[].securityContext.appArmorProfile.type": {
                *("RuntimeDefault", "Unconfined", "Localhost")
            },
            "containers[].resources.requests.*": None,
            "containers[].resources.limits.*": None,
            "containers[].volumeMounts[].name": None,
            "containers[].volumeMounts[].mountPath": None,
            "containers[].volumeMounts[].readOnly": None,
            "volumes[].name": None,
            "volumes[].emptyDir.medium": {"", "Memory"},
            "volumes[].emptyDir.sizeLimit": None,
            "volumes[].hostPath.path": None,
            "volumes[].hostPath.type": {
                *("", "File", "FileOrCreate", "Directory", "DirectoryOrCreate")
            },
            "volumes[].configMap.name": None,
        }.items()
    },
}
#: Objects whose keys are names of ours.
NAMED = ("labels", "data", "matchLabels", "nodeSelector", "requests", "limits")


def fields(value: object, way: str = "") -> Iterator[tuple[str, object]]:
    """Yield the way to each value that is no object, and the value."""
    if isinstance(value, dict):
        is_named = way.rpartition(".")[2] in NAMED
        for key, each in value.items():
            yield from fields(each, f"{way}.{'*' if is_named else key}".lstrip("."))
    elif isinstance(value, list):
        for each in value:
            yield from fields(each, f"{way}[]")
    else:
        yield way, value


def test_manifest_has_fields_and_values_of_the_api() -> None:
    for part in PARTS:
        for way, value in fields(part):
            assert way in KNOWN, way
            allowed = KNOWN[way]
            assert allowed is None or value in allowed, f"{way}: {value}"


def test_every_part_selects_what_it_means() -> None:
    labels = POD["metadata"]["labels"]
    spec = next(each for each in PARTS if each["kind"] == "DaemonSet")["spec"]
    assert spec["selector"]["matchLabels"] == labels
    assert {each["metadata"].get("namespace", "sysmonlx") for each in PARTS} == {
        PARTS[0]["metadata"]["name"]
    }


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
