#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the service in the foreground, with the configuration of /config/config.xml.
set -eu
umask 077

# An emptyDir is writable by all; the service writes only where root alone may.
chmod 0755 "$SYSMONLX_ROOT"
mkdir -p "$SYSMONLX_ROOT/etc/sysmonlx" "$SYSMONLX_ROOT/run" "$SYSMONLX_ROOT/var/lib"
chmod 0755 "$SYSMONLX_ROOT/etc" "$SYSMONLX_ROOT/run" "$SYSMONLX_ROOT/var" \
	"$SYSMONLX_ROOT/var/lib"
cp "${CONFIG:-/config/config.xml}" "$SYSMONLX_ROOT/etc/sysmonlx/config.xml"
# Of the machine: ProcessGuid begins with it.
if [ -s /host/machine-id ]; then
	cp /host/machine-id "$SYSMONLX_ROOT/etc/machine-id"
fi
# A name for the socket, even an empty one, keeps the service in the foreground.
NOTIFY_SOCKET='' exec "${SYSMONLX:-/usr/sbin/sysmonlx}" -nologo -service
