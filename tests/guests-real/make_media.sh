#!/bin/bash
# make_media.sh [DIR]: unpack what Debian has to boot from, without installing
# it: GRUB's rescue images, memtest86+, iPXE. The default is
# build/guests-real/media. Needs apt-get with its lists, and the network.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${1:-build/guests-real/media}
[ -e "$dir/made" ] && exit 0
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/new.XXXXXX")
chmod 755 "$tmp"
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && timeout 120 apt-get -qq download grub-rescue-pc memtest86+ ipxe \
    2>/dev/null)
for deb in "$tmp"/*.deb; do
    dpkg-deb -x "$deb" "$tmp/tree"
done
cp "$tmp"/tree/usr/lib/grub-rescue/grub-rescue-{cdrom.iso,floppy.img} \
    "$tmp"/tree/boot/memtest86+x64.bin "$tmp"/tree/usr/lib/ipxe/ipxe.{iso,lkrn} \
    "$dir/"
touch "$dir/made"
