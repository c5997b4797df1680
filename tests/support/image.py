# SPDX-License-Identifier: MIT
"""The image of container/Dockerfile without docker: its steps, taken in a bare root.

The image is run as a runtime does it: namespaces of its own, a read-only root, the
mounts and capabilities that container/daemonset.yaml names.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.bare import ROOTS
from support.machine import ENTER_GROUP, PATH, make_group, remove_group
from support.running import REPOSITORY

BASE = ROOTS / "image"
FOLDER = REPOSITORY / "container"
_STEP, _RUN = (Path(__file__).with_name(f"image_{each}.sh") for each in ("step", "run"))


def manifest() -> dict[str, Any]:
    """Return the `spec` of the pod in container/daemonset.yaml."""
    parts = yaml.safe_load_all((FOLDER / "daemonset.yaml").read_text())
    spec = next(each for each in parts if each["kind"] == "DaemonSet")["spec"]
    found: dict[str, Any] = spec["template"]["spec"]
    return found


def capabilities() -> list[str]:
    """Return the capabilities that the manifest adds."""
    context = manifest()["containers"][0]["securityContext"]
    return [str(each).lower() for each in context["capabilities"]["add"]]


class Image:
    """The image, below an empty directory; `environment` and `entry` are its own."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.environment: dict[str, str] = {"PATH": PATH}
        self.entry: list[str] = []
        for name in ("layer", "work", "root"):
            (top / name).mkdir()
        for verb, words in _steps((FOLDER / "Dockerfile").read_text("utf-8")):
            self._take(verb, words)

    def _take(self, verb: str, text: str) -> None:
        if verb == "RUN":
            self._step("chroot", f"{self._top}/root", "sh", "-c", text)
        elif verb == "COPY":
            self._copy([*shlex.split(text)])
        elif verb == "ENV":
            name, _, value = text.partition("=")
            self.environment[name] = value
        elif verb == "ENTRYPOINT":
            self.entry = yaml.safe_load(text)
        else:
            assert verb in ("FROM", "VOLUME", "STOPSIGNAL"), verb

    def _copy(self, words: list[str]) -> None:
        mode = next((w.partition("=")[2] for w in words if w.startswith("--chmod")), "")
        *sources, target = (word for word in words if not word.startswith("--"))
        found = [path for each in sources for path in REPOSITORY.glob(each)]
        assert len(found) == 1, f"COPY {sources}: {found}"
        place = f"{self._top}/root{target}"
        self._step("install", "-D", "-m", mode or "644", os.fspath(found[0]), place)

    def _step(self, *words: str) -> None:
        command = ["unshare", "--mount", "sh", str(_STEP), str(self._top), *words]
        environment = {**os.environ, **self.environment, "BASE": f"{BASE}"}
        environment["DEBIAN_FRONTEND"] = "noninteractive"
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    @contextmanager
    def running(
        self,
        top: Path,
        *,
        lacks: Sequence[str] = (),
        host_pid: bool = True,
        without: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run the entry point; `top/out` and `top/err` have what it writes.

        Args:
            top: An empty directory.
            lacks: Capabilities that the container does not get.
            host_pid: It is in the pid namespace of the machine.
            without: "BTF", "CGROUP": what the runtime does not show.
            before: A command in front of the entry point.
        """
        for name in ("top", "work", "root"):
            (top / name).mkdir()
        words = [f"{name}={value}" for name, value in self.environment.items()]
        group = make_group("image")  # a container is never in the root group
        environment = self._world(top, lacks, without)
        with open(top / "out", "wb") as out, open(top / "err", "wb") as err:
            process = subprocess.Popen(
                [*_begun(group, host_pid), *words, *before, *self.entry],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            remove_group(group)

    def _world(
        self, top: Path, lacks: Sequence[str], without: Sequence[str]
    ) -> Mapping[str, str]:
        added = ",".join(f"+{each}" for each in capabilities() if each not in lacks)
        mounts = "\n".join(_mounts("CGROUP" in without))
        return {
            **{"PATH": PATH, "BASE": f"{self._top}/layer:{BASE}", "TOP": f"{top}"},
            **{"CAPABILITIES": f"-all,{added}", "MOUNTS": mounts},
            **{f"NO_{each}": "1" if each in without else "" for each in _LACKING},
        }


def _begun(group: Path, host_pid: bool) -> list[str]:
    """Return the command that begins a container, before what is run in it."""
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork"]
    namespaces += [] if host_pid else ["--pid"]
    return [
        *("sh", "-c", ENTER_GROUP, f"{group}"),
        *("unshare", *namespaces, "--kill-child", "sh", f"{_RUN}"),
    ]


_LACKING = ("BTF", "CGROUP")


def _steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile: verb, and what follows it."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        verb, _, rest = line.strip().partition(" ")
        if verb:
            yield verb, rest.strip()


def _mounts(without_cgroup: bool) -> Iterator[str]:
    """Yield source and target of what the manifest mounts of the machine."""
    pod = manifest()
    of_host = {
        each["name"]: each["hostPath"]["path"]
        for each in pod["volumes"]
        if "hostPath" in each
    }
    for each in pod["containers"][0]["volumeMounts"]:
        source = of_host.get(each["name"])
        is_shown = each["name"] != "cgroup" or not without_cgroup
        if each.get("readOnly") and source and is_shown and Path(source).exists():
            yield f"{source} {each['mountPath']}"
    yield f"{FOLDER / 'config.xml'} /config/config.xml"
