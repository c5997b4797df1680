# SPDX-License-Identifier: MIT
# Made by "make generate" from the table of options.
_sysmonlx()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	local switches='-i -c -u -t -btf -s -nologo -accepteula -h -l -n -test -stats -selftest -lax -strict -v -sigma -? --version' values='' files=''

	if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1],,} == -sigma ]]; then
		# Its words are completed by the file beside this one.
		declare -F _sysmonlx_sigma >/dev/null || . "${BASH_SOURCE[0]}-sigma" 2>/dev/null
		COMP_WORDS=("${COMP_WORDS[@]:1}") COMP_CWORD=$((COMP_CWORD - 1))
		declare -F _sysmonlx_sigma >/dev/null && _sysmonlx_sigma
		return
	fi
	case ${before,,} in
	-i) files=1 ;;
	-c) values='--' files=1 ;;
	-u) values='force purge' ;;
	-t) values='verbose json' files=1 ;;
	-btf) files=1 ;;
	-s) values='all' ;;
	-h) values='sha1 md5 sha256 *' ;;
	-test) files=1 ;;
	-stats) values='json' ;;
	-selftest) values='json' ;;
	-v) values='source' ;;
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
