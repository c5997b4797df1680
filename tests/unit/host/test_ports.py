# SPDX-License-Identifier: MIT
from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.patience import patient

from sysmonlx.host.ports import Services

TEXT = """\
# comment
ssh             22/tcp          # SSH
domain          53/tcp  nameserver
domain          53/udp
first           99/tcp
second          99/tcp
broken          x1/tcp
lonely
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "services"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(
    ("port", "protocol", "name"),
    [
        (22, "tcp", "ssh"),
        (22, "udp", "-"),
        (53, "udp", "domain"),
        (99, "tcp", "first"),
        (1, "tcp", "-"),
        (22, "sctp", "-"),
    ],
)
def test_port_has_the_first_name_of_its_protocol(
    path: Path, port: int, protocol: str, name: str
) -> None:
    assert Services(path, patient()).port_name(port, protocol) == name


def test_names_agree_with_getservbyport() -> None:
    ours = Services(aside=patient())
    for port in (22, 25, 53, 80, 123, 443):
        assert ours.port_name(port, "tcp") == _of_libc(port, "tcp")
        assert ours.port_name(port, "udp") == _of_libc(port, "udp")


def test_changed_file_is_read_again(path: Path) -> None:
    ours = Services(path, patient())
    assert ours.port_name(22, "tcp") == "ssh"
    path.write_text("shell 22/tcp\n")
    ours.renew()
    assert ours.port_name(22, "tcp") == "shell"
    path.unlink()
    ours.renew()
    assert ours.port_name(22, "tcp") == "-"


def _of_libc(port: int, protocol: str) -> str:
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return "-"
