# SPDX-License-Identifier: MIT
# Begins a container as a runtime does, in namespaces that are its own already.
#
#	unshare --mount ... sh image_run.sh COMMAND...
#
# TOP has the directories top, work and root; BASE the layers of the image, the highest
# first. MOUNTS has pairs of source and target, a line each. CAPABILITIES are for
# setpriv(1). With NO_BTF or NO_CGROUP the container does not see them.
set -eu

mount --make-rprivate /
mount -t overlay -o "lowerdir=$BASE,upperdir=$TOP/top,workdir=$TOP/work" container "$TOP/root"
cd "$TOP/root"
mkdir -p sysmonlx old
echo "$MOUNTS" | while read -r source target; do
	mkdir -p ".${target%/*}"
	if [ -d "$source" ]; then mkdir -p ".$target"; else : >>".$target"; fi
	mount --rbind "$source" ".$target"
	mount -o remount,bind,ro ".$target"
done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
[ ! -e proc/kcore ] || mount --bind /dev/null proc/kcore
mount -t sysfs -o ro sysfs sys
[ -n "$NO_CGROUP" ] || mount -t cgroup2 -o ro cgroup sys/fs/cgroup
[ -z "$NO_BTF" ] || mount -t tmpfs -o ro none sys/kernel
mount -t tmpfs -o mode=755 devices dev
for name in null zero full random urandom; do
	: >dev/$name
	mount --bind "/dev/$name" dev/$name
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm
mount -t tmpfs -o mode=1777 shm dev/shm
# An emptyDir, which all may write to, and the directory of the machine in it.
mount -t tmpfs -o mode=0777 work sysmonlx
mkdir -p sysmonlx/var/lib/sysmonlx

pivot_root . old
umount -l old
mount -o remount,bind,ro /
exec setpriv --no-new-privs --bounding-set "$CAPABILITIES" --inh-caps -all env -i "$@"
