#compdef sysmonlx
# SPDX-License-Identifier: MIT
# Made by "make generate" from the table of options.
_arguments \
	'(-c -u -s -test -stats -selftest -sigma)-i[install and start]::file:_files' \
	'(-i -u -s -test -stats -selftest -sigma)-c[update or show the configuration]::file:_files' \
	'(-i -c -s -test -stats -selftest -sigma)-u[stop and remove]::value:(force purge)' \
	'-t[foreground, events to the terminal]::file:_files' \
	'-btf[use this BTF file]::file:_files' \
	'(-i -c -u -test -stats -selftest -sigma)-s[print the schema]::value:(all)' \
	'-nologo[no banner]' \
	'-accepteula[accepted, there is none]' \
	'-h[hashes to compute\: sha1, md5, sha256 or *]:value:(sha1 md5 sha256 \*)' \
	'-l[images whose library loads to include]::value: ' \
	'-n[images whose connections to include]::value: ' \
	'(-i -c -u -s -stats -selftest -sigma)-test[try events on a configuration]:configuration:_files::events:_files' \
	'(-i -c -u -s -test -selftest -sigma)-stats[counters of the running service]::value:(json)' \
	'(-i -c -u -s -test -stats -sigma)-selftest[make events, say which were seen]::value:(json)' \
	'-lax[read a configuration as tolerantly as Sysmon]' \
	'-strict[refuse a configuration for one rule of Sigma]' \
	'-v[with -test\: reasons, or the source]::value:(source)' \
	'(-i -c -u -s -test -stats -selftest)-sigma[check, list, try and compile Sigma rules]:*:::command:{words=(sysmonlx-sigma "$words[@]"); ((CURRENT++)); _sysmonlx-sigma}' \
	'-?[print the usage]' \
	'--version[print the version]'
