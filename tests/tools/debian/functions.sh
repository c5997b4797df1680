PROGRAM=/usr/sbin/sysmonlx
CONFIGURATION=/etc/sysmonlx/config.xml
UNIT=/etc/systemd/system/sysmonlx.service

# Print the program that the unit starts, nothing where "-i" has written none.
unit_program() {
	[ ! -f "$UNIT" ] || sed -n 's/^ExecStart="\{0,1\}\([^"]*\)"\{0,1\} -service$/\1/p' "$UNIT"
}

# Print the process id of the daemon, or of the keeper that starts it again.
daemon_pid() {
	for file in /run/sysmonlx/sysmonlx.pid /run/sysmonlx/keeper.pid; do
		pid=$(cat "$file" 2>/dev/null) || continue
		if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'sysmonlx'; then
			echo "$pid"
			return
		fi
	done
}

# Tell whether the service runs, or is being started again.
is_running() {
	if [ -d /run/systemd/system ] && [ -f "$UNIT" ]; then
		state=$(systemctl show --property=ActiveState --value sysmonlx.service) || state=
		case $state in
		active | activating | reloading | deactivating) return 0 ;;
		esac
	fi
	[ -n "$(daemon_pid)" ]
}

# Print the program of an installation that is not this package's, such as one of
# "make install"; nothing where there is none.
other_program() {
	program=$(unit_program)
	pid=$(daemon_pid)
	if [ -z "$program" ] && [ -n "$pid" ]; then
		program=$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)
	fi
	case $program in
	"$PROGRAM" | /usr/bin/*) ;;
	*) echo "$program" ;;
	esac
}
