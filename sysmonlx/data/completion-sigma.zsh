#compdef sysmonlx-sigma
# SPDX-License-Identifier: MIT
local -a commands
commands=(
	'check:say which rules cannot be used, and why'
	'list:a line a rule'
	'test:judge recorded events'
	'xml:write rules as a configuration of Sysmon'
	'pack:compile rules into one file that hosts load'
	'explain:why a rule does or does not match an event'
)
if ((CURRENT == 2)); then
	_describe command commands
	_arguments '(-h --help)'{-h,--help}'[print the usage]' '--version[print the version]'
	return
fi
case $words[2] in
list) _arguments '--json[as JSON]' '*:rules:_files' ;;
test) _arguments '(-e --events)'{-e,--events}'[recorded events]:events:_files' '*:rules:_files' ;;
xml | pack) _arguments '(-o --output)'{-o,--output}'[file to write]:file:_files' '*:rules:_files' ;;
*) _files ;;
esac
