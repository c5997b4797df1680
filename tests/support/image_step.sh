# SPDX-License-Identifier: MIT
# Takes one step of a Dockerfile above a bare root; the network is this machine's.
#
#	BASE=ROOT unshare --mount sh image_step.sh TOP COMMAND...
#
# TOP has the directories layer, work and root.
set -eu
top=$1
shift

mount -t overlay -o "lowerdir=$BASE,upperdir=$top/layer,workdir=$top/work" image "$top/root"
cd "$top/root"
mount --bind /dev dev
mount -t proc proc proc
: >>etc/resolv.conf
mount --bind /etc/resolv.conf etc/resolv.conf
exec "$@"
