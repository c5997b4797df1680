#compdef sysmonlx
# SPDX-License-Identifier: MIT
# Made by "make generate" from the table of options.
_arguments \
	'(-c -u -s -test -stats -selftest)-i[install and start]::file:_files' \
	'(-i -u -s -test -stats -selftest)-c[update or show the configuration]::file:_files' \
	'(-i -c -s -test -stats -selftest)-u[stop and remove]::value:(force purge)' \
	'-t[foreground, events to the terminal]::file:_files' \
	'-btf[use this BTF file]::file:_files' \
	'(-i -c -u -test -stats -selftest)-s[print the schema]::value:(all)' \
	'-nologo[no banner]' \
	'-accepteula[accepted, there is none]' \
	'-h[hashes to compute\: sha1, md5, sha256 or *]:value:(sha1 md5 sha256 \*)' \
	'-l[images whose library loads to include]::value: ' \
	'-n[images whose connections to include]::value: ' \
	'(-i -c -u -s -stats -selftest)-test[try events on a configuration]:configuration:_files::events:_files' \
	'(-i -c -u -s -test -selftest)-stats[counters of the running service]::value:(json)' \
	'(-i -c -u -s -test -stats)-selftest[make events, say which were seen]::value:(json)' \
	'-lax[read a configuration as tolerantly as Sysmon]' \
	'-strict[refuse a configuration for one rule of Sigma]' \
	'-v[with -test\: reasons, or the source]::value:(source)' \
	'-?[print the usage]' \
	'--version[print the version]'
