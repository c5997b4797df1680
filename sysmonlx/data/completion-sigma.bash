# SPDX-License-Identifier: MIT
_sysmonlx_sigma()
{
	local word=${COMP_WORDS[COMP_CWORD]} values='' command=${COMP_WORDS[1]-}

	if ((COMP_CWORD == 1)); then
		values='check list test xml pack explain -h --help --version'
		mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
		return
	fi
	case $command in
	list) values='--json' ;;
	test) values='-e --events' ;;
	xml | pack) values='-o --output' ;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$values -h --help" -- "$word")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -f -- "$word")
	compopt -o filenames 2>/dev/null
}
complete -F _sysmonlx_sigma sysmonlx-sigma
