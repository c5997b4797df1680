# SPDX-License-Identifier: MIT
_sysmonlx_logview()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} values='' files=1
	local switches='-e -r -t -f -E -X -T -w -h --since --until --form --fields --colour --ascii --local --width
		--tree --story --timeline --rules --verify --html --title --limit --full --journal --help --version --version'

	case $before in
	-e) files='' values='ProcessCreate ProcessTerminate NetworkConnect FileCreate FileDelete DnsQuery' ;;
	--form) files='' values='rows sysmon json csv markdown' ;;
	--colour) files='' values='auto always never' ;;
	--since | --until) files='' values='today yesterday -10m -2h' ;;
	--story | --fields | --width | --title | --limit | -r | -t | -f | -E | -w) files='' ;;
	*) [[ $word == -* ]] && values=$switches ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
	[[ -z $files ]] && return
	mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word")
	compopt -o filenames 2>/dev/null
}
complete -F _sysmonlx_logview sysmonlx-logview
