#!/bin/bash
# What is on the screen, and keys for it: a BIOS with its video BIOS and its
# boot menu, GRUB's menu, memtest86+ and Linux without firmware, UEFI; and what
# boot loaders expect of a PC besides (cmd_screen.c). HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
media=build/guests-real/media
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
HUSK_HOME=$dir/home
export HUSK_HOME
pid=
stop()
{
    [ -z "$pid" ] || kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    pid=
}
trap 'stop; rm -rf "$dir"' EXIT
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    tail -n 5 "$dir/err" "$dir/serial" 2>/dev/null
    "$husk" screen vm 2>&1 | grep -v '^$'
}

# A VM "vm" of the image, or with an empty disk.
make_vm() # [IMAGE]
{
    stop
    "$husk" delete vm --purge --yes >/dev/null 2>&1
    if [ $# -gt 0 ]; then
        "$husk" import "$1" vm --format raw >/dev/null 2>"$dir/err"
    else
        "$husk" create vm --disk 1M >/dev/null 2>"$dir/err"
    fi
}

start() # OPTION...
{
    stop
    rm -f "$dir/serial"
    timeout 120 "$husk" run vm -s "$dir/serial" "$@" </dev/null \
        >/dev/null 2>"$dir/err" &
    pid=$!
}

# Until the screen has a line that matches; a minute at most.
shows() # NAME PATTERN
{
    local i

    for ((i = 0; i < 300; i++)); do
        "$husk" screen vm 2>/dev/null | grep -qE "$2" && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    check "$1" yes "$("$husk" screen vm 2>&1 | grep -qE "$2" && echo yes)"
}

key() # KEY...
{
    "$husk" key vm "$@" 2>"$dir/err"
    check "key $*" 0 $?
}

# --- What cannot be -----------------------------------------------------------

make_vm
"$husk" screen vm 2>"$dir/err"
check 'the screen of a VM that does not run' 3 $?
"$husk" key vm a 2>"$dir/err"
check 'a key for a VM that does not run' 3 $?
"$husk" run vm --boot tape 2>"$dir/err"
check 'an order of what there is not' 2 $?
"$husk" run vm --vga cirrus 2>"$dir/err"
check 'a screen that there is not' 2 $?
"$husk" set vm boot.order=cd,cd 2>"$dir/err"
check 'an order with one thing twice' 2 $?

# --- A BIOS -------------------------------------------------------------------

# A disk with a boot sector that can be told by what it prints.
sector='\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xbe\x18\x7c' # si = text
sector+='\xac\x84\xc0\x74\xfe\xb4\x0e\xcd\x10\xeb'            # each byte
disk() # TEXT FILE
{
    printf "${sector}\xf5%s\\0" "$1" >"$2"
    truncate -s 510 "$2"
    printf '\x55\xaa' >>"$2"
    truncate -s 1M "$2"
}

# With its address behind the code.
disk "first disk." "$dir/first.img"
disk "second disk." "$dir/second.img"

bios()
{
    make_vm "$dir/first.img"
    start
    shows 'SeaBIOS has its video BIOS' '^SeaBIOS \(version'
    shows 'the boot sector prints on the screen' 'first disk'
    check 'and on the serial port' 1 "$(grep -ac 'first disk' "$dir/serial")"
    "$husk" key vm f13 2>"$dir/err"
    check 'a key that there is not' 2 $?

    start --boot menu -d "$dir/second.img,format=raw"
    shows 'the boot menu waits' '^Press ESC for boot menu'
    key esc
    shows 'it lists the second disk' '^2\. '
    key 2
    shows 'the choice is followed' 'second disk'

    start --vga none
    for ((i = 0; i < 300; i++)); do
        grep -aq 'first disk' "$dir/serial" 2>/dev/null && break
        sleep 0.1
    done
    check 'without a screen all is on the serial port' 1 \
        "$(grep -ac 'first disk' "$dir/serial")"
    "$husk" screen vm 2>"$dir/err"
    check 'no screen to look at' 2 $?
    check 'it says why' 1 "$(grep -c -e '--vga std' "$dir/err")"
}

# A20, PAM, counter 2, the refresh bit, INT 15h and 16h: tests/func/boot/bios.S.
loaders()
{
    gcc -m32 -c -o "$dir/bios.o" tests/func/boot/bios.S &&
        ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$dir/bios.img" \
            "$dir/bios.o"
    check 'the boot sector is built' 0 $?
    truncate -s 1M "$dir/bios.img"
    stop
    rm -f "$dir/serial"
    timeout 60 "$husk" run -d "$dir/bios.img,format=raw" -s "$dir/serial" \
        </dev/null >/dev/null 2>"$dir/err"
    check 'it ends by itself' 0 $?
    for what in a20 pam refresh counter wait keys; do
        check "under a BIOS: $what" 1 "$(grep -ac "$what ok" "$dir/serial")"
    done
}

# --- Boot loaders and programs ------------------------------------------------

grub()
{
    make_vm "$1"
    start
    shows "$2: the menu" '^ .\*GNU/Linux '
    key down down
    shows "$2: keys move in it" '\*FreeBSD \(or GNU/kFreeBSD\), direct'
    key c
    shows "$2: its command line" '^grub> *$'
    "$husk" key vm --text 'echo "1+2; A|B"' && key ret
    shows "$2: text is typed" '^1\+2; A\|B$'
}

# A disk that boots and a CD that does.
order()
{
    make_vm "$dir/first.img"
    start --iso "$media/grub-rescue-cdrom.iso"
    shows 'the disk is first by itself' 'first disk'
    start --iso "$media/grub-rescue-cdrom.iso" --boot cd
    shows 'the CD is when it shall be' '^ .\*GNU/Linux '
    "$husk" set vm boot.order=cd,disk >/dev/null
    start --iso "$media/grub-rescue-cdrom.iso"
    shows 'or by a setting' '^ .\*GNU/Linux '
    start --boot cd,menu --iso "$media/grub-rescue-cdrom.iso"
    shows 'the menu waits' '^Press ESC for boot menu'
    key esc
    shows 'its order is that, too' '^1\. DVD/CD'
}

memtest()
{
    make_vm
    start --vga std --kernel "$media/memtest86+x64.bin" -m 32M
    shows 'memtest86+ starts' 'Memtest86\+ v'
    shows 'it counts' 'Time: +[0-9]+:[0-9]+:[0-9]*[2-9]'
    shows 'it tests' 'Test #[2-9]'
    shows 'without errors' 'Errors: 0'
}

# A kernel that firmware starts.
kernel()
{
    make_vm
    start --firmware bios --kernel build/guest/vmlinuz --append 'console=tty0'
    shows 'a BIOS starts a kernel' 'Kernel panic - not syncing: VFS'
    start --firmware bios --kernel "$media/memtest86+x64.bin" -m 64M
    shows 'a BIOS starts memtest86+' 'Memtest86\+ v'
    start --firmware bios --kernel build/guest/vmlinuz \
        --initrd build/guest/initrd.gz --append 'console=ttyS0 quiet'
    for ((i = 0; i < 300; i++)); do
        grep -aq 'guest:/root#' "$dir/serial" 2>/dev/null && break
        sleep 0.2
    done
    check 'with its initrd' 1 "$(grep -ac '^guest:/root#' "$dir/serial")"
}

ipxe()
{
    make_vm "$media/ipxe.iso"
    start
    shows 'iPXE loads' '^Loading ipxe.krn'
    make_vm
    start --firmware bios --kernel "$media/ipxe.lkrn" -m 128M
    shows 'iPXE starts as a kernel' '^iPXE initialising devices'
}

# --- Without firmware, and with another one -----------------------------------

linux()
{
    make_vm
    start --vga std --kernel build/guest/vmlinuz --append 'console=tty0'
    shows 'Linux prints on the screen' 'Kernel panic - not syncing: VFS'
    start --kernel build/guest/vmlinuz --append 'console=ttyS0'
    for ((i = 0; i < 300; i++)); do
        "$husk" screen vm >/dev/null 2>"$dir/said"
        grep -q 'does not run' "$dir/said" || break
        sleep 0.1
    done
    check 'a kernel has no screen by itself' 1 \
        "$(grep -c -e '--vga std' "$dir/said")"
}

# The disk says what it is for: an EFI partition alone.
uefi()
{
    truncate -s 8M "$dir/efi.img"
    sfdisk -q "$dir/efi.img" <<END
label: gpt
start=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
END
    make_vm "$dir/efi.img"
    check 'info: the firmware' uefi "$("$husk" info vm --json |
        sed -nE 's/.*"kind": "(.*)",/\1/p')"
    start
    shows 'OVMF shows a picture' '^a picture of [0-9]+ by [0-9]+ pixels'
}

if [ -e /usr/share/seabios/vgabios-stdvga.bin ]; then
    bios
    if command -v gcc >/dev/null; then
        loaders
    else
        skip 'a boot sector' 'there is no gcc'
    fi
    if tests/guests-real/make_media.sh; then
        grub "$media/grub-rescue-floppy.img" "GRUB's floppy image"
        grub "$media/grub-rescue-cdrom.iso" "GRUB's CD image as a disk"
        order
        memtest
        [ -e build/guest/vmlinuz ] && kernel
        ipxe
    else
        skip 'GRUB, memtest86+ and iPXE' 'their packages cannot be had'
    fi
else
    skip 'a BIOS' 'the package seabios is not installed'
fi
if [ -e build/guest/vmlinuz ]; then
    linux
else
    skip Linux 'there is no build/guest/vmlinuz'
fi
if [ ! -e /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
    skip OVMF 'the package ovmf is not installed'
else
    PATH=$PATH:/usr/sbin:/sbin uefi
fi
stop
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
