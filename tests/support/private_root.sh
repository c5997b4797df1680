# SPDX-License-Identifier: MIT
# Runs a program above the files of this machine, with mounts of its own.
#
#	unshare --mount --uts --ipc sh private_root.sh TOP COMMAND...
#
# What is written goes to a tmpfs at TOP. Processes have the numbers that all see.
set -eu
top=$1
shift

mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$top"
mkdir "$top/new" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/new,workdir=$top/work" machine "$top/root"
cd "$top/root"

mount -t proc proc proc
mount -t tmpfs -o mode=755 devices dev
while read -r name major minor; do
	mknod -m 666 "dev/$name" c "$major" "$minor"
done <<-END
	null 1 3
	zero 1 5
	random 1 8
	urandom 1 9
END
mkdir dev/shm
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p -m 1777 var/tmp

mkdir old
pivot_root . old
umount -l old
rmdir old
cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
