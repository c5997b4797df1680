#compdef sysmonlx-logview
# SPDX-License-Identifier: MIT
_arguments \
	'-e[these events]:ids or names:(ProcessCreate ProcessTerminate NetworkConnect FileCreate FileDelete DnsQuery)' \
	'-r[these record ids]:MIN,MAX' \
	'-t[written in this time]:START,END' \
	'-f[with one of these values]:FIELD=V1,V2' \
	'-E[form sysmon: these fields]:ID=F1,F2' \
	'-X[form sysmon: an empty line after each event]' \
	'-T[show the settings and end]' \
	'*-w[a condition, or a text]:word' \
	'--since[not before]:when:(today yesterday -10m -2h)' \
	'--until[not after]:when:(today yesterday -10m -2h)' \
	'--form[how events are shown]:form:(rows sysmon json csv markdown)' \
	'--fields[columns of csv and markdown]:fields' \
	'--colour[colours]:when:(auto always never)' \
	'--ascii[signs of ASCII alone]' \
	'--local[times of this zone]' \
	'--width[cut rows at so many columns]:columns' \
	'--tree[processes with what they did]' \
	'--story[one process as a report]:pid, GUID or name' \
	'--timeline[how many events when]' \
	'--rules[how often each rule hit]' \
	'--verify[missing and repeated record ids]' \
	'--html[one page for a browser]:file:_files' \
	'--title[heading of the page]:text' \
	'--limit[events of the page]:number' \
	'--full[shorten nothing]' \
	'--journal[read the journal]' \
	'(-h --help)'{-h,--help}'[print the usage]' \
	'--version[print the version]' \
	'*:log:_files'
