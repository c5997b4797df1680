# SPDX-License-Identifier: MIT
# Starts systemd as the first process of new namespaces, above this machine's files.
#
#	unshare --mount --pid --fork --uts --ipc --cgroup --kill-child
#		sh boot_systemd.sh TOP CHECKOUT PYTHON
#
# What is written goes to a tmpfs at TOP. Of the units of this machine none is started
# but those below; the limits and the audit of its kernel are not touched.
set -eu
. "${0%/*}/root_parts.sh"
top=$1 checkout=$2 python=$3

begin_root "$top" /
# Nor is an installation or a journal of this machine there.
rm -rf "$top/root/etc/sysmonlx" "$top/root/var/lib/sysmonlx"
mount -t tmpfs -o mode=755 logs var/log
mount_kernel
mount_devices
mount_terminals
mount_run_and_tmp
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

enter_root container=test \
	/usr/lib/systemd/systemd --unit=booted.target --show-status=false
