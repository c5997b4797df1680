# SPDX-License-Identifier: MIT
# Parts of a root of its own, for scripts that run in a new mount namespace. They are
# functions; all but the first expect the new root to be the working directory.

# begin_root TOP LOWER: go to a root above the files of LOWER. What is written goes to a
# tmpfs at TOP, and LOWER stays as it is.
begin_root() {
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 machine "$1"
	mkdir "$1/new" "$1/work" "$1/root"
	mount -t overlay -o "lowerdir=$2,upperdir=$1/new,workdir=$1/work" machine "$1/root"
	cd "$1/root"
}

# Processes of the own pid namespace, devices of the machine, own control groups. The
# settings of the kernel can be read only.
mount_kernel() {
	mount -t proc proc proc
	mount --bind proc/sys proc/sys
	mount -o remount,bind,ro proc/sys
	mount --rbind /sys sys
	mount -t tmpfs -o mode=755 groups sys/fs/cgroup
	mount -t cgroup2 groups sys/fs/cgroup
}

mount_devices() {
	mount -t tmpfs -o mode=755 devices dev
	while read -r name minor; do
		mknod -m 666 "dev/$name" c 1 "$minor"
	done <<-END
		null 3
		zero 5
		full 7
		random 8
		urandom 9
	END
	ln -s /proc/self/fd dev/fd
	mkdir dev/shm
	mount -t tmpfs -o mode=1777 shm dev/shm
}

mount_terminals() {
	mknod -m 666 dev/tty c 5 0
	mkdir dev/pts
	mount -t devpts -o newinstance,ptmxmode=666 terminals dev/pts
	ln -s pts/ptmx dev/ptmx
}

mount_run_and_tmp() {
	mount -t tmpfs -o mode=755 run run
	mount -t tmpfs -o mode=1777 tmp tmp
}

# enter_root COMMAND...: leave the files of before, and become COMMAND. Its environment
# has a PATH, and the variables that stand in front of it.
enter_root() {
	mkdir -p old
	pivot_root . old
	umount -l old
	rmdir old
	cd /
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
