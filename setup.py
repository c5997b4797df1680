# SPDX-License-Identifier: MIT
"""Package metadata; builds the eBPF object with make before the package."""

import re
import shutil
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
INIT = (HERE / "sysmonlx" / "__init__.py").read_text("utf-8")
VERSION = re.findall(r'__version__ = "(.+)"', INIT)[0]


class BuildWithObject(build_py):
    """Build the object first, and put the data of config_schema into the package."""

    def run(self) -> None:
        """Build; needs clang, bpftool and libbpf's headers unless it is built."""
        subprocess.run(["make", "bpf"], cwd=HERE, check=True)
        super().run()
        target = Path(self.build_lib) / "sysmonlx"
        for built in (HERE / "sysmonlx").glob("*.bpf.o"):
            shutil.copy2(built, target)
        schema = target / "config_schema"
        shutil.copytree(HERE / "config_schema", schema, dirs_exist_ok=True)


setup(
    name="sysmonlx",
    version=VERSION,
    description="Sysmon for Linux in Python and eBPF",
    license="MIT AND GPL-2.0-only",
    packages=find_packages(include=["sysmonlx", "sysmonlx.*"]),
    package_data={"sysmonlx": ["data/*", "py.typed"]},
    python_requires=">=3.11",
    # Ranges for who installs us beside other packages; `make` installs what is in
    # the lock files, see tests/tools/lock.py.
    install_requires=["lxml>=4.9,<7", "python-daemon>=2.3,<4", "xmlschema>=2.0,<5"],
    extras_require={
        # Reads Sigma rules in YAML; packs of rules need none of it.
        "sigma": ["pysigma>=2,<3"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3",
            "dnspython>=2.6",
            "hypothesis>=6",
            "prometheus-client>=0.20",
            "pysigma-backend-sqlite>=2,<3",
            "wcwidth>=0.2.13",  # what a terminal makes of a character
        ],
        "lint": [
            "ruff>=0.6",
            "mypy>=1.11",
            "lxml-stubs>=0.5",
            "types-setuptools>=65",
            # Wheels of reuse are of one Python each; 4.0.3 is that of 3.11.
            "reuse>=4,<4.1; python_version < '3.12'",
        ],
    },
    entry_points={
        "console_scripts": [
            "sysmonlx=sysmonlx.__main__:main",
            "sysmonlx-logview=sysmonlx.viewer.__main__:main",
            "sysmonlx-sigma=sysmonlx.sigma_tool.__main__:main",
        ]
    },
    cmdclass={"build_py": BuildWithObject},
    zip_safe=False,
)
