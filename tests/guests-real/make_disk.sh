#!/bin/bash
# make_disk.sh [FILE]: make a raw disk with Debian 12, as an installer would
# leave it: GPT, GRUB for BIOS and for UEFI, Debian's own kernel, a login prompt
# on the serial port (root, no password). The default is
# build/guests-real/disk.img; its root stays beside it. QEMU boots it too.
#
# Needs root, mmdebstrap, fdisk, e2fsprogs, dosfstools, mtools, grub-pc-bin and
# grub-efi-amd64-bin, but no loop device: partitions are made as files.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/guests-real
disk=${1:-$out/disk.img}
root=${DISK_ROOT:-$out/disk-root} # or of another system
uuid=6b7d3c1e-2c44-4f0a-9d0e-68757368d15c
export PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$out"
tmp=$(mktemp -d "$out/disk.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    mmdebstrap --variant=minbase --include="linux-image-amd64,systemd-sysv,\
udev,dbus,iproute2,efibootmgr,procps" bookworm "$root"
    touch "$root/made"
fi
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*_*
[ -n "${DISK_ROOT:-}" ] || echo disk >"$root/etc/hostname"
echo "UUID=$uuid / ext4 defaults 0 1" >"$root/etc/fstab"
[ -n "${DISK_ROOT:-}" ] || sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"

# --- GRUB: its modules, its menu, its images ---------------------------------
mkdir -p "$root/boot/grub/fonts"
cp -r /usr/lib/grub/i386-pc /usr/lib/grub/x86_64-efi "$root/boot/grub/"
cat >"$root/boot/grub/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
search --no-floppy --fs-uuid --set=root $uuid
menuentry "Debian" {
    linux /vmlinuz root=UUID=$uuid ro console=ttyS0,115200 ${DISK_APPEND:-}
    initrd /initrd.img
}
END
modules="part_gpt ext2 normal linux search search_fs_uuid serial configfile"
# shellcheck disable=SC2086
grub-mkimage -O i386-pc -o "$tmp/core.img" -p '(,gpt3)/boot/grub' \
    biosdisk $modules
# shellcheck disable=SC2086
grub-mkimage -O x86_64-efi -o "$tmp/bootx64.efi" -p '(,gpt3)/boot/grub' $modules

# --- Partitions --------------------------------------------------------------
rm -f "$disk"
truncate -s 2G "$disk"
sectors=$((2 * 1024 * 2048 - 69632 - 2048)) # of the root; GPT's copy is behind
sfdisk -q "$disk" <<END
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=65536, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=69632, size=$sectors, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END

truncate -s $((65536 * 512)) "$tmp/esp"
mkfs.vfat -F 16 "$tmp/esp" >/dev/null
mmd -i "$tmp/esp" ::/EFI ::/EFI/BOOT
mcopy -i "$tmp/esp" "$tmp/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
dd if="$tmp/esp" of="$disk" bs=1M seek=2 conv=notrunc,sparse status=none

mke2fs -q -t ext4 -U $uuid -d "$root" \
    -E offset=$((69632 * 512)),nodiscard "$disk" $((sectors / 2))k

# --- Boot sector and what it reads -------------------------------------------
# Places in GRUB's images (grub-core/boot/i386/pc/boot.S and diskboot.S): the
# sector of the core image; where the test of the drive number is; the last
# block list of the core image's first sector.
number()
{
    local n=$1 i
    for ((i = 0; i < $2; i++)); do
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $((n >> 8 * i & 255)))"
    done
}
poke() # FILE OFFSET, from standard input
{
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
core_sectors=$((($(stat -c %s "$tmp/core.img") + 511) / 512))
cp "$root/boot/grub/i386-pc/boot.img" "$tmp/boot.img"
number 2048 8 | poke "$tmp/boot.img" 92
printf '\x90\x90' | poke "$tmp/boot.img" 102
number 2049 8 | poke "$tmp/core.img" 500
number $((core_sectors - 1)) 2 | poke "$tmp/core.img" 508
dd if="$tmp/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$tmp/core.img" of="$disk" bs=512 seek=2048 conv=notrunc status=none
ls -ls "$disk"
