# SPDX-License-Identifier: MIT
# Runs a program above the files of this machine, with mounts of its own.
#
#	unshare --mount --uts --ipc sh private_root.sh TOP COMMAND...
#
# What is written goes to a tmpfs at TOP. Processes have the numbers that all see.
set -eu
. "${0%/*}/root_parts.sh"
top=$1
shift

begin_root "$top" /
mount -t proc proc proc
mount_devices
mount_run_and_tmp
mkdir -p -m 1777 var/tmp
enter_root "$@"
