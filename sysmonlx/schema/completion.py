# SPDX-License-Identifier: MIT
"""Completion of the command line for bash and zsh, made from the table of options."""

from __future__ import annotations

from collections.abc import Iterator

from sysmonlx.schema.options import NO_EFFECT, OPTIONS, OWN_OPTIONS, WINDOWS, Option

BASH, ZSH = "completion.bash", "completion.zsh"

#: Words that the value of an option may be; "--" of -c is a switch of its own.
VALUES = {
    "DebugMode": ("verbose", "json"),
    "UnInstall": ("force", "purge"),
    "Statistics": ("json",),
    "SelfTest": ("json",),
    "Verbose": ("source",),
    "PrintSchema": ("all",),
    "HashAlgorithms": ("sha1", "md5", "sha256", "*"),
    "Configuration": ("--",),
}
#: Options whose value names a file.
FILES = ("Install", "Configuration", "Test", "BTF", "DebugMode")
_USELESS = (NO_EFFECT, WINDOWS)
#: Of the service manager; and -dns, which is read as -d, as in Sysmon.
_UNUSABLE = ("Service", "DnsQuery")
_HELP = ("-?", "print the usage")
_VERSION = ("--version", "print the version")

_HEAD = """\
# SPDX-License-Identifier: MIT
# Made by "make generate" from the table of options.
"""
_BASH = """\
_sysmonlx()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	local switches='@SWITCHES@' values='' files=''

	if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1],,} == -sigma ]]; then
		# Its words are completed by the file beside this one.
		declare -F _sysmonlx_sigma >/dev/null || . "${BASH_SOURCE[0]}-sigma" 2>/dev/null
		COMP_WORDS=("${COMP_WORDS[@]:1}") COMP_CWORD=$((COMP_CWORD - 1))
		declare -F _sysmonlx_sigma >/dev/null && _sysmonlx_sigma
		return
	fi
	case ${before,,} in
@CASES@
	esac
	((COMP_CWORD > 2)) && [[ ${COMP_WORDS[COMP_CWORD-2],,} == -test ]] && files=1
	[[ -n $values || -n $files ]] || values=$switches
	[[ $word == -* ]] && values+=" $switches"
	mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
	[[ -z $files ]] && return
	mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word")
	compopt -o filenames 2>/dev/null
}
complete -F _sysmonlx sysmonlx
"""
#: The words behind -sigma are completed as those of the other program.
_ZSH_REST = (
    ':*:::command:{words=(sysmonlx-sigma "$words[@]"); ((CURRENT++)); _sysmonlx-sigma}'
)
_ZSH_HEAD = "#compdef sysmonlx\n"


def completed() -> list[Option]:
    """Return the options that are worth offering."""
    found = (*OPTIONS, *OWN_OPTIONS)
    return [each for each in found if each.switch and _is_offered(each)]


def _is_offered(option: Option) -> bool:
    is_ours = option.target == "all" and option.name not in _UNUSABLE
    is_useful = option.effect not in _USELESS and "Windows" not in option.effect
    return is_ours and is_useful and not option.effect.startswith("accepted, prints")


def bash() -> str:
    """Return the completion for bash."""
    switches = [f"-{each.switch}" for each in completed() if each.switch != "-"]
    text = _BASH.replace("@SWITCHES@", " ".join([*switches, _HELP[0], _VERSION[0]]))
    return _HEAD + text.replace("@CASES@", "\n".join(_bash_cases()))


def _bash_cases() -> Iterator[str]:
    for option in completed():
        words = " ".join(VALUES.get(option.name, ()))
        files = "1" if option.name in FILES else ""
        if words or files:
            actions = [f"values='{words}'"] * bool(words) + ["files=1"] * bool(files)
            yield f"\t-{option.switch}) {' '.join(actions)} ;;"


def zsh() -> str:
    """Return the completion for zsh."""
    lines = [_zsh_line(each) for each in completed() if each.switch != "-"]
    lines += [_zsh_text(*_HELP), _zsh_text(*_VERSION)]
    return _ZSH_HEAD + _HEAD + " \\\n\t".join(["_arguments", *lines]) + "\n"


def _zsh_line(option: Option) -> str:
    others = [
        f"-{each.switch}"
        for each in completed()
        if option.exclusive and each.exclusive and each is not option
    ]
    before = f"({' '.join(others)})" if others else ""
    return _zsh_text(f"-{option.switch}", option.effect, before, _zsh_value(option))


def _zsh_text(switch: str, effect: str, before: str = "", value: str = "") -> str:
    meaning = effect.replace("'", "").replace("]", ")").replace(":", "\\:")
    return f"'{before}{switch}[{meaning}]{value}'"


def _zsh_value(option: Option) -> str:
    if option.argument == "none":
        return ""
    if option.argument == "rest":
        return _ZSH_REST
    colons = "::" if option.argument == "optional" else ":"
    words = " ".join(VALUES.get(option.name, ())).replace("*", "\\*")
    if option.name == "Test":
        return f"{colons}configuration:_files::events:_files"
    if option.name in FILES:
        return f"{colons}file:_files"
    return f"{colons}value:({words})" if words else f"{colons}value: "
