# SPDX-License-Identifier: MIT
# Runs a first process above the files of another root, in namespaces of its own.
#
#	unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child
#		sh bare_root.sh TOP ROOT COMMAND...
#
# What is written goes to a tmpfs at TOP; ROOT stays as it is. There is no network.
set -eu
top=$1 root=$2
shift 2

mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$top"
mkdir "$top/new" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=$root,upperdir=$top/new,workdir=$top/work" machine "$top/root"
cd "$top/root"
mkdir -p packages
mount --rbind "$top/../packages" packages

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --rbind /sys sys
mount -t tmpfs -o mode=755 groups sys/fs/cgroup
mount -t cgroup2 groups sys/fs/cgroup
mount -t tmpfs -o mode=755 devices dev
while read -r name major minor; do
	mknod -m 666 "dev/$name" c "$major" "$minor"
done <<-END
	null 1 3
	zero 1 5
	full 1 7
	random 1 8
	urandom 1 9
	tty 5 0
END
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 terminals dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
ip link set lo up 2>/dev/null || true

mkdir -p old
pivot_root . old
umount -l old
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
