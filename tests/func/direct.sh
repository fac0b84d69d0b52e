#!/bin/bash
# Disks whose kernel is booted without firmware: the default entry of GRUB's
# menu with its arguments; a guest that changes its menu, or its kernel, gets
# what it asked for at the next reset and start; and whatever husk is not sure of
# goes to the firmware, which here finds a boot sector that says so and switches
# off. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
export PATH=$PATH:/usr/sbin:/sbin HUSK_HOME=$dir/home
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    tail -n 5 "$dir/console" "$dir/err" 2>/dev/null
}

summary()
{
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

command -v mke2fs >/dev/null || {
    skip all 'there is no mke2fs'
    summary
}
tools/make-guest --disk || {
    skip all 'there is no guest'
    summary
}

# --- A disk ---------------------------------------------------------------------

# The guest says how it was booted, does what /todo says, once, and switches off.
tree=$dir/tree
mkdir -p "$tree"/{bin,sbin,dev,proc,sys,boot/grub}
cp "$(command -v busybox)" "$tree/bin/busybox"
cat >"$tree/sbin/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -o remount,rw /
echo "husk-test: cmdline $(cat /proc/cmdline)"
if [ -e /todo ]; then
    mv /todo /done
    sync
    sh /done
fi
mount -o remount,ro /
poweroff -f
END
chmod 755 "$tree/sbin/init"
cp build/guest/vmlinuz "$tree/boot/vmlinuz-1"
cp build/guest/disk.gz "$tree/boot/initrd.img-1"

args='console=ttyS0 quiet husk.root=/dev/vda1'
write_menu()
{
    cat >"$tree/boot/grub/grub.cfg" <<END
if [ -s \$prefix/grubenv ]; then
  load_env
fi
set default=0
if [ "\${next_entry}" ] ; then
  set default="\${next_entry}"
  set next_entry=
  save_env next_entry
fi
set timeout=0
menuentry 'Linux 1' --id one {
  linux /boot/vmlinuz-1 $args mark=1
  initrd /boot/initrd.img-1
}
submenu 'More' --id more {
  menuentry 'Linux 2' --id two {
    linux /boot/vmlinuz-2 $args mark=2
    initrd /boot/initrd.img-1
  }
}
END
}

# What the firmware finds: a program that writes "firmware" to the serial port
# and switches off; GRUB's mark; one partition from 1 MiB on.
sector='\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xbe\x22\x7c'
sector+='\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5'
sector+='\xba\x04\x06\xb8\x00\x34\xef\xf4\xeb\xfd'
make_disk()
{
    rm -f "$dir/disk.img"
    truncate -s 112M "$dir/disk.img"
    # shellcheck disable=SC2059
    printf "${sector}firmware\\n\\0GRUB" |
        dd of="$dir/disk.img" conv=notrunc status=none
    printf '\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x60\x03\x00' |
        dd of="$dir/disk.img" bs=1 seek=446 conv=notrunc status=none
    printf '\x55\xaa' |
        dd of="$dir/disk.img" bs=1 seek=510 conv=notrunc status=none
    mke2fs -q -F -t ext4 -d "$tree" -E offset=$((1 << 20)),nodiscard \
        "$dir/disk.img" 110592k
}

run() # ARGUMENT...
{
    rm -f "$dir/console" "$dir/err"
    HUSK_LOG=info timeout 120 "$husk" run -s "$dir/console" \
        -d "$dir/disk.img,format=raw" "$@" </dev/null >/dev/null 2>"$dir/err"
}

said() # all marks, in their order
{
    tr -d '\r' <"$dir/console" |
        sed -nE 's/^husk-test: cmdline .*mark=(.*)$/\1/p; s/^.*(firmware)$/\1/p' |
        paste -sd ' '
}

todo()
{
    printf '%s\n' "$1" >"$tree/todo"
    make_disk
    rm -f "$tree/todo"
}

# --- Booting --------------------------------------------------------------------

write_menu
make_disk
run
check 'a disk boots by itself' 0 $?
check "its kernel gets the entry's arguments" \
    "husk-test: cmdline BOOT_IMAGE=/boot/vmlinuz-1 $args mark=1" \
    "$(tr -d '\r' <"$dir/console" | grep -a '^husk-test: cmdline')"
check 'it is said what was booted' 1 \
    "$(grep -c "/boot/vmlinuz-1 directly (GRUB's default entry 'Linux 1')" \
        "$dir/err")"
run --append 'more words'
check '--append adds to them' '1 more words' "$(said)"
run --firmware none
check 'no firmware is wanted' '1' "$(said)"

bios=1
run --firmware bios
case $?:$(said) in
0:firmware) ;;
*)
    bios=0
    skip firmware 'the package seabios is not installed'
    ;;
esac

"$husk" import "$dir/disk.img" web -f raw 2>/dev/null >&2
check 'info says how it will boot' \
    "boots          /boot/vmlinuz-1 directly (GRUB's default entry 'Linux 1')" \
    "$("$husk" info web | grep '^boots')"
check 'also as JSON' 1 "$("$husk" info web --json |
    grep -c '"kernel": "/boot/vmlinuz-1"')"
"$husk" set web boot.firmware=bios >/dev/null
check 'firmware was chosen' 'boots          by SeaBIOS: its settings say so' \
    "$("$husk" info web | grep '^boots')"

# --- Changes --------------------------------------------------------------------

todo "cp /boot/vmlinuz-1 /boot/vmlinuz-2
sed -i 's/^set default=0/set default=\"more>two\"/' /boot/grub/grub.cfg
mount -o remount,ro /
reboot -f"
run
check 'a new kernel is booted after a reset' '1 2' "$(said)"
run
check 'and at the next start' '2' "$(said)"

todo 'cat /boot/vmlinuz-1 >/boot/new
mv /boot/new /boot/vmlinuz-1
sed -i s/mark=1/mark=changed/ /boot/grub/grub.cfg
reboot -f'
if [ $bios = 1 ]; then
    run
    check 'an unclean file system is for the firmware' '1 firmware' "$(said)"
    check 'the reason is said' 1 "$(grep -c 'was not unmounted' "$dir/err")"
else
    run --firmware none
    check 'at a reset it is an error' 1 $?
fi
run --firmware none
check 'without firmware it is an error' 2 $?
check 'which says why' 1 \
    "$(grep -c "^husk: boot disk .* directly: .*was not unmounted" "$dir/err")"

printf '# GRUB Environment Block\nnext_entry=more>two\n###' \
    >"$tree/boot/grub/grubenv"
make_disk
rm "$tree/boot/grub/grubenv"
if [ $bios = 1 ]; then
    run
    check 'a choice for one boot is left to GRUB' 'firmware' "$(said)"
fi
"$husk" import "$dir/disk.img" once -f raw 2>/dev/null >&2
check 'the reason is in info' 1 \
    "$("$husk" info once | grep '^boots ' | grep -c "has to write 'next_entry'")"

# --- Kernels that are none --------------------------------------------------------

cp "$tree/bin/busybox" "$tree/boot/vmlinuz-1"
make_disk
if [ $bios = 1 ]; then
    run
    check 'what is no kernel is left to GRUB' 'firmware' "$(said)"
    check 'and that is said' 1 \
        "$(grep -c 'is not booted directly but by SeaBIOS' "$dir/err")"
fi
truncate -s 200M "$dir/big"
mkdir -p "$dir/small/boot/grub"
cp "$tree/boot/grub/grub.cfg" "$dir/small/boot/grub/"
cp --sparse=always "$dir/big" "$dir/small/boot/vmlinuz-1"
cp "$tree/boot/initrd.img-1" "$dir/small/boot/"
tree=$dir/small
make_disk
run --firmware none
check 'a kernel of 200 MiB is refused' 2 $?
check 'by its size' 1 "$(grep -c "vmlinuz-1' has 209715200 bytes" "$dir/err")"
summary
