# SPDX-License-Identifier: MIT
# Runs a first process above the files of another root, in namespaces of its own.
#
#	unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child
#		sh bare_root.sh TOP ROOT COMMAND...
#
# What is written goes to a tmpfs at TOP; ROOT stays as it is. There is no network.
set -eu
. "${0%/*}/root_parts.sh"
top=$1 root=$2
shift 2

begin_root "$top" "$root"
mkdir -p packages
mount --rbind "$top/../packages" packages
mount_kernel
mount_devices
mount_terminals
mount_run_and_tmp
ip link set lo up 2>/dev/null || true
enter_root container=test "$@"
