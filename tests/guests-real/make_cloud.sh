#!/bin/bash
# make_cloud.sh [FILE]: make a disk image as vendors of cloud images do: qcow2,
# Debian 12 with the cloud kernel, cloud-init, networkd and sshd, no password, no
# key, no host name of its own. The default is build/guests-real/cloud.qcow2; its
# root stays beside it. It boots by BIOS and UEFI.
#
# Needs what make_disk.sh needs, and qemu-img.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/guests-real
image=${1:-$out/cloud.qcow2}
root=$out/cloud-root
mkdir -p "$out"
tmp=$(mktemp -d "$out/cloud.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    mmdebstrap --variant=minbase --include="linux-image-cloud-amd64,\
systemd-sysv,systemd-resolved,udev,dbus,iproute2,cloud-init,openssh-server,\
sudo,netplan.io,netcat-openbsd,iperf3,curl,iputils-ping,cloud-guest-utils,\
procps,ca-certificates" bookworm "$root"
    touch "$root/made"
fi
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id"
: >"$root/etc/machine-id"
# No cloud but a seed: others are waited for.
echo 'datasource_list: [ NoCloud, None ]' >"$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
DISK_ROOT=$root DISK_APPEND="${DISK_APPEND:-}" \
    tests/guests-real/make_disk.sh "$tmp/disk.img"
qemu-img convert -O qcow2 -c "$tmp/disk.img" "$image"
ls -ls "$image"
