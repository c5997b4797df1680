# SPDX-License-Identifier: MIT
"""The configuration that is installed: is it another, and what does it say now?"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from sysmonlx.config.child import EMPTY, Reading, read_data, unopened
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.errors import InstallError, SysmonlxError, UsageError, in_words
from sysmonlx.host.private_files import read_file
from sysmonlx.policy import FORM, Policy
from sysmonlx.service.installed import Paths, load_command_line
from sysmonlx.service.systemd import WARNING, print_error


def read_installed(paths: Paths, *, lax: bool = False, strict: bool = False) -> Reading:
    """Read what is installed, with the switches that it was installed with.

    `lax` adds -lax to them, `strict` -strict. A file that nobody has edited keeps the
    name of the one that it is a copy of.
    """
    # A stored policy needs none of it.
    from sysmonlx.config.command_line import Action, CommandLine, parse

    try:
        line = parse(load_command_line(paths.command_line_file)[1:])
    except UsageError:
        line = CommandLine(Action.CONFIGURE)
    path = paths.config_file
    try:
        data = read_file(path)
    except OSError as error:
        return unopened(path, error)
    try:
        reading = read_data(
            data,
            os.fspath(path),
            line.config_options,
            lax=lax or line.has("Lax"),
            strict=strict or line.has("Strict"),
        )
    except SysmonlxError as error:
        return Reading(None, f"Error: {error}\n")
    stored = stored_form(paths)
    if stored is None or reading.policy is None or _is_edited(reading.policy, stored):
        return reading
    return replace(reading, policy=replace(reading.policy, source=stored.source))


def _is_edited(policy: Policy, stored: Policy) -> bool:
    """Tell whether a policy was made from another text than the stored one."""
    known = dict(stored.digests).get("SHA256")
    return not known or dict(policy.digests).get("SHA256") != known


def is_changed(path: Path, policy: Policy) -> bool:
    """Tell whether `path` has another content than the policy was made from.

    A file that is gone, or that cannot be read, is no change.
    """
    try:
        found = read_file(path)
    except OSError:
        return False
    import hashlib  # 3.7 MB of libcrypto, which the daemon may not need

    digest = hashlib.sha256(found).hexdigest()
    known = dict(policy.digests).get("SHA256")
    return digest != known if known else found != EMPTY


#: Begins of the lines around the findings in the text of a reading.
_NO_FINDINGS = ("Loading ", "Sysmon schema version", "Configuration file validated")


@dataclass(frozen=True, slots=True)
class ChosenPolicy:
    """The policy that a start is to run.

    `refused` says why it is not that of the installed file; it is empty when it is.
    `warnings` are those of a file that was read anew, in one line.
    """

    policy: Policy
    refused: str = ""
    warnings: str = field(default="", compare=False)


def stored_policy(paths: Paths) -> ChosenPolicy:
    """Return the policy to run; read anew when file or program are others than before.

    A file that cannot be used leaves the configuration before it in force; without
    one the built-in rules are.
    """
    stored = stored_form(paths)
    is_same = stored is not None and not (
        is_changed(paths.config_file, stored) or _has_other_rules(stored)
    )
    if stored is not None and is_same and stored.form == FORM:
        return ChosenPolicy(stored)
    policy, text = _read_anew(paths)
    if policy is not None:
        if stored is not None and is_same:  # of another version; names are as given
            policy = replace(policy, source=stored.source, digests=stored.digests)
        with contextlib.suppress(InstallError):  # it is read again at the next start
            paths.write(paths.policy_file, policy.to_json().encode())
        if text:
            print_error(text, WARNING)
        return ChosenPolicy(policy, warnings=text)
    what = "configuration before this one is" if stored else "built-in rules are"
    text = f"{text}; the {what} in force"
    print_error(text)
    return ChosenPolicy(stored or Policy(), text)


def _has_other_rules(policy: Policy) -> bool:
    """Tell whether a pack of rules is another than the policy was made from."""
    if not policy.ruleset.packs:
        return False
    from sysmonlx.config import rule_files  # most policies have none

    return rule_files.is_changed(policy)


def _read_anew(paths: Paths) -> tuple[Policy | None, str]:
    try:
        reading = read_installed(paths)
    except Exception as error:  # no process, no memory, a reader that died
        return None, f"Cannot read {paths.config_file}: {in_words(error)}"
    return reading.policy, refusal_of(reading.text)


def refusal_of(text: str) -> str:
    """Return the findings in the text of a reading, in one line."""
    lines = (line.strip() for line in text.split("\n"))
    return "; ".join(
        line for line in lines if line and not line.startswith(_NO_FINDINGS)
    )


def stored_form(paths: Paths) -> Policy | None:
    """Return the configuration as it was last read, None where none is stored."""
    try:
        return policy_of(read_file(paths.policy_file).decode())
    except (OSError, ValueError):
        return None
