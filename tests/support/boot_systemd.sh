# SPDX-License-Identifier: MIT
# Starts systemd as the first process of new namespaces, above this machine's files.
#
#	unshare --mount --pid --fork --uts --ipc --cgroup --kill-child
#		sh boot_systemd.sh TOP CHECKOUT PYTHON
#
# What is written goes to a tmpfs at TOP. Of the units of this machine none is started
# but those below; the limits and the audit of its kernel are not touched.
set -eu
top=$1 checkout=$2 python=$3

mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$top"
mkdir "$top/new" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/new,workdir=$top/work" machine "$top/root"
cd "$top/root"
# Nor is an installation or a journal of this machine there.
rm -rf "$top/root/etc/sysmonlx" "$top/root/var/lib/sysmonlx"
mount -t tmpfs -o mode=755 logs var/log

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
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=666 terminals dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p ".$checkout"
mount --bind "$checkout" ".$checkout"
mount -o remount,bind,ro ".$checkout"

# The targets want nothing, but for the journal.
for directory in usr/lib/systemd/system/*.wants etc/systemd/system; do
	mount -t tmpfs -o mode=755 wants "$directory"
done
mkdir -p run/systemd/system run/systemd/journald.conf.d
cat >run/systemd/system/booted.target <<-END
	[Unit]
	Wants=systemd-journald.service systemd-journald.socket
	Wants=systemd-journald-dev-log.socket
END
# A limit that every test exceeds, and that a service must not have.
cat >run/systemd/journald.conf.d/test.conf <<-END
	[Journal]
	Storage=volatile
	RateLimitIntervalSec=1h
	RateLimitBurst=20
	ReadKMsg=no
	Audit=
END
cat >run/sysmonlx-under-test <<-END
	#!/bin/sh
	export PYTHONPATH='$checkout' PYTHONDONTWRITEBYTECODE=1
	exec '$python' -P -m sysmonlx "\$@"
END
chmod 755 run/sysmonlx-under-test
mkdir -p usr/local/sbin
ln -sf /run/sysmonlx-under-test usr/local/sbin/sysmonlx

mkdir -p old
pivot_root . old
umount -l old
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/usr/lib/systemd/systemd --unit=booted.target --show-status=false
