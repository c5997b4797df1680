# SPDX-License-Identifier: MIT
"""Writes what a release consists of, as CycloneDX 1.5; `make sbom` runs this.

The components are those of requirements.lock, which `make install` puts beside the
program. The Debian package has none: it uses the packages of its distribution.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from tools.release import BUILD, REPOSITORY, epoch, version

_PINNED = re.compile(r"^([\w.-]+)==([\w.!+-]+)", re.MULTILINE)


def document() -> dict[str, Any]:
    """Return the list of parts."""
    number = version()
    packages = _PINNED.findall((REPOSITORY / "requirements.lock").read_text("utf-8"))
    parts = [_part(name, each) for name, each in packages]
    program = _part("sysmonlx", number)
    program |= {"type": "application", "licenses": [{"expression": _licence()}]}
    needs = [{"ref": each["bom-ref"], "dependsOn": []} for each in parts]
    own = {"ref": program["bom-ref"], "dependsOn": [each["ref"] for each in needs]}
    content = json.dumps([program, parts], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch(), UTC).isoformat(),
            "component": program,
        },
        "components": parts,
        "dependencies": [own, *needs],
    }


def _part(name: str, number: str) -> dict[str, Any]:
    identity = f"pkg:pypi/{name}@{number}"
    return {
        "type": "library",
        "bom-ref": identity,
        "name": name,
        "version": number,
        "purl": identity,
    }


def _licence() -> str:
    text = (REPOSITORY / "setup.py").read_text("utf-8")
    return text.split('license="')[1].split('"')[0]


def main() -> None:
    """Write the list of this checkout below build."""
    path = BUILD / f"sysmonlx-{version()}.cdx.json"
    path.write_text(json.dumps(document(), indent=2) + "\n", "utf-8")
    print(f"  SBOM     {path}")


if __name__ == "__main__":
    main()
