# SPDX-License-Identifier: MIT
"""The package in a bare root without network, while no service was asked for."""

from __future__ import annotations

import pytest
from deb.conftest import Boot
from support.bare import Bare

INSTALL = ("dpkg", "--install", "/packages/this.deb")
LIST = (
    "find / -xdev '(' -path /packages -o -path /proc -o -path /var/lib/dpkg -o -path"
    " /var/log/dpkg.log -o -path /var/cache -o -path /var/lib/systemd ')' -prune -o"
    " -printf '%p %y %m %U %l\\n' | sort"
)


@pytest.fixture
def bare(boot: Boot) -> Bare:
    return boot()


def programs(bare: Bare) -> set[str]:
    """Return the names of all that runs, but for what asks."""
    names = bare.shell("cat /proc/[0-9]*/comm 2>&- || :").splitlines()
    return {*names} - {"sh", "cat"}


def test_installation_starts_nothing(bare: Bare) -> None:
    before = programs(bare)
    bare.must(*INSTALL)
    assert programs(bare) == before
    assert bare.call("sysmonlx", "-nologo", "-stats").returncode == 87
    assert not bare.shell("ls -d /etc/sysmonlx /var/lib/sysmonlx 2>&- || :")
    assert bare.shell("dpkg --verify sysmonlx") == ""


def test_purge_leaves_nothing(bare: Bare) -> None:
    before = bare.shell(LIST)
    bare.must(*INSTALL)
    bare.must("sysmonlx", "-nologo", "-test", "/usr/share/sysmonlx/default.xml", "-")
    bare.must("dpkg", "--remove", "sysmonlx")
    left = {*bare.shell(LIST).splitlines()} - {*before.splitlines()}
    names = {line.split()[0] for line in left if line.split()[1] == "f"}
    conffiles = {"/etc/logrotate.d/sysmonlx", "/etc/rsyslog.d/20-sysmonlx.conf"}
    assert names == conffiles
    bare.must("dpkg", "--purge", "sysmonlx")
    assert bare.shell(LIST) == before


def test_everybody_may_test_configurations(bare: Bare) -> None:
    bare.must(*INSTALL)
    for name in ("default.xml", "everything.xml", "examples/server.xml"):
        bare.must(
            *("setpriv", "--reuid=nobody", "--clear-groups", "/usr/bin/sysmonlx"),
            *("-nologo", "-test", f"/usr/share/sysmonlx/{name}", "/dev/null"),
        )


def test_rules_are_shown_and_used_where_nothing_reads_yaml(bare: Bare) -> None:
    bare.must(*INSTALL)
    shown = bare.must("sysmonlx-sigma", "list").splitlines()
    joined = sum(line.split("\t")[1] == "-" for line in shown)
    rules = len(shown) - joined
    assert rules > 60
    said = bare.must(
        "sysmonlx", "-test", "/usr/share/sysmonlx/default.xml", "/dev/null"
    )
    used = f"{rules} of {rules} rules and {joined} of {joined} correlations"
    assert f"Rules shipped: {used}, action include" in said
    files = bare.shell("ls /usr/share/sysmonlx/rules/*.yml").splitlines()
    assert len(files) == len(shown)


def test_environment_and_directory_bring_no_code(bare: Bare) -> None:
    bare.must(*INSTALL)
    bare.shell(
        "mkdir -p /srv/evil/sysmonlx && cd /srv/evil && cp -r sysmonlx lxml &&"
        " echo 'import os; os._exit(9)' | tee sysmonlx/__init__.py lxml/__init__.py"
    )
    program = "cd /srv/evil && PYTHONPATH=/srv/evil PYTHONSTARTUP=x sysmonlx"
    said = bare.shell(f"{program} -nologo -test /usr/share/sysmonlx/default.xml -")
    assert "Configuration file validated" in said


def test_logging_is_prepared(bare: Bare) -> None:
    bare.must(*INSTALL)
    assert "error" not in bare.must("rsyslogd", "-N1")
    bare.shell("mkdir -p /var/log && echo x >/var/log/sysmon.log")
    bare.must("logrotate", "--force", "/etc/logrotate.d/sysmonlx")
    assert bare.shell("ls /var/log/sysmon.log*") == "/var/log/sysmon.log.1\n"


def test_completion_is_found_by_the_name_of_the_program(bare: Bare) -> None:
    bare.must(*INSTALL)
    place = "/usr/share/bash-completion/completions/sysmonlx"
    said = bare.must("bash", "-c", f"source {place} && complete -p sysmonlx")
    assert said == "complete -F _sysmonlx sysmonlx\n"


def test_names_of_sysmon_are_given_when_asked_for_and_go_with_the_package(
    bare: Bare,
) -> None:
    bare.must(*INSTALL)
    bare.must("/usr/share/sysmonlx/as-sysmon", "install")
    for program in ("/usr/bin/sysmon", "/opt/sysmon/sysmon"):
        assert "<manifest" in bare.must(program, "-s")
    assert bare.shell("/opt/sysmon/sysmonLogView </dev/null; echo $?").endswith("0\n")
    bare.must("dpkg", "--remove", "sysmonlx")
    assert bare.shell("ls -d /opt/sysmon /usr/bin/sysmon* 2>/dev/null || :") == ""


@pytest.mark.parametrize("step", ["remove", "purge"])
def test_sysmon_of_microsoft_is_left_alone(bare: Bare, step: str) -> None:
    files = "/opt/sysmon/sysmon /usr/bin/sysmon /etc/systemd/system/sysmon.service"
    bare.shell(
        "mkdir -p /opt/sysmon /etc/systemd/system &&"
        f" for file in {files}; do echo 'of Microsoft' >$file; done"
    )
    before = bare.shell(f"stat -c '%n %i %Y' {files}; cat {files}")
    bare.must(*INSTALL)
    assert bare.shell(f"stat -c '%n %i %Y' {files}; cat {files}") == before
    bare.must("dpkg", f"--{step}", "sysmonlx")
    assert bare.shell(f"stat -c '%n %i %Y' {files}; cat {files}") == before


def test_conffile_that_was_changed_is_kept(bare: Bare) -> None:
    bare.must(*INSTALL)
    bare.shell("echo '# mine' >>/etc/rsyslog.d/20-sysmonlx.conf")
    bare.must("dpkg", "--install", "--force-confold", "/packages/newer.deb")
    assert "# mine" in bare.shell("cat /etc/rsyslog.d/20-sysmonlx.conf")


def test_stopped_installation_of_another_is_named_and_kept(bare: Bare) -> None:
    unit = "/etc/systemd/system/sysmonlx.service"
    bare.shell(
        "mkdir -p /usr/local/sbin /etc/sysmonlx /var/lib/sysmonlx &&"
        " printf '#!/bin/sh\\n' >/usr/local/sbin/sysmonlx &&"
        " chmod 755 /usr/local/sbin/sysmonlx && echo {} >/var/lib/sysmonlx/policy.json"
        f" && echo 'ExecStart=\"/usr/local/sbin/sysmonlx\" -service' >{unit}"
    )
    said = bare.must(*INSTALL)
    assert "another installation is here: /usr/local/sbin/sysmonlx" in said
    assert "make uninstall" in said
    assert f"{unit} starts it" in said
    assert "stays: /usr/local/sbin/sysmonlx" in bare.must("dpkg", "--purge", "sysmonlx")
    bare.must("test", "-f", unit, "-a", "-f", "/var/lib/sysmonlx/policy.json")
