# SPDX-License-Identifier: MIT
# Makes the machine of `make quiet` ready; the rules do not look at it yet.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
printf '%s\n' 'APT::Periodic::Enable "0";' >/etc/apt/apt.conf.d/99quiet
apt-get -qq update
apt-get -qq -y --no-install-recommends install cron openssh-server openssh-client sudo logrotate
useradd --create-home --shell /bin/bash somebody
echo 'somebody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/somebody
mkdir -p /root/.ssh /home/somebody/.ssh /run/sshd /home/somebody/bin
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cat /root/.ssh/id_ed25519.pub >/home/somebody/.ssh/authorized_keys
chown -R somebody /home/somebody
printf '%s\n' '* * * * * root run-parts --report /etc/cron.hourly' \
	'* * * * * somebody date >>/tmp/dates 2>&1' >/etc/cron.d/often
printf '#!/bin/sh\nfind /var/log -name "*.log" -size +1M >/dev/null\n' >/etc/cron.hourly/look
chmod 755 /etc/cron.hourly/look
