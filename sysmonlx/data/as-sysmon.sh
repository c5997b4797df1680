#!/bin/sh
# SPDX-License-Identifier: MIT
# Gives sysmonlx the names of Microsoft's Sysmon for Linux, so that runbooks work as they
# are: sysmon, /opt/sysmon/sysmon, sysmonLogView, sysmon.service. They are symbolic links.
# Nothing is overwritten: where one of the names is taken, none is given.
set -eu

PROGRAM='@PROGRAM@' LOGVIEW='@LOGVIEW@' UNIT=sysmonlx.service
: "${DESTDIR:=}"

# Print each name, and what it leads to.
names() {
	echo "/usr/bin/sysmon $PROGRAM"
	echo "/usr/bin/sysmonLogView $LOGVIEW"
	echo "/opt/sysmon/sysmon $PROGRAM"
	echo "/opt/sysmon/sysmonLogView $LOGVIEW"
	echo "/etc/systemd/system/sysmon.service $UNIT"
}

is_ours() {
	[ -L "$DESTDIR$1" ] && [ "$(readlink "$DESTDIR$1")" = "$2" ]
}

# Print what is in the way.
taken() {
	names | while read -r name target; do
		if ! is_ours "$name" "$target" && { [ -e "$DESTDIR$name" ] || [ -L "$DESTDIR$name" ]; }; then
			echo "$name"
		fi
	done
	for name in /lib/systemd/system/sysmon.service /usr/lib/systemd/system/sysmon.service; do
		if [ -e "$DESTDIR$name" ]; then echo "$name"; fi
	done
}

# systemd has read its units: have it look again, if it runs here.
reload() {
	if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
		systemctl daemon-reload
	fi
}

give() {
	found=$(taken | sort -u)
	if [ -n "$found" ]; then
		echo >&2 "as-sysmon: these are there already, so no name is given:"
		echo >&2 "$found"
		echo >&2 "Remove Microsoft's Sysmon (sysmon -u; apt remove sysmonforlinux), then try again."
		exit 1
	fi
	names | while read -r name target; do
		mkdir -p "$DESTDIR${name%/*}"
		is_ours "$name" "$target" || ln -s "$target" "$DESTDIR$name"
	done
	reload
}

take() {
	names | while read -r name target; do
		if is_ours "$name" "$target"; then rm -f "$DESTDIR$name"; fi
	done
	rmdir "$DESTDIR/opt/sysmon" 2>/dev/null || :
	reload
}

case ${1-} in
install) give ;;
remove) take ;;
*)
	echo >&2 "usage: as-sysmon install|remove"
	exit 2
	;;
esac
