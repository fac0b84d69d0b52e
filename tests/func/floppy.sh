#!/bin/bash
# Floppy drives: SeaBIOS boots GRUB's floppy image from one, a boot sector
# writes to one, and what cannot be is refused. HUSK names the binary.
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

# --- What cannot be -----------------------------------------------------------

"$husk" run --floppy "$dir/none" 2>"$dir/err"
check 'an image that there is not' 2 $?
truncate -s 1000000 "$dir/odd"
"$husk" run --floppy "$dir/odd" 2>"$dir/err"
check 'an image of no disk' 2 $?
check 'it says what sizes there are' 1 "$(grep -c '2880 KiB' "$dir/err")"
truncate -s 1440K "$dir/a"
"$husk" run --floppy "$dir/a" --floppy "$dir/a" --floppy "$dir/a" 2>"$dir/err"
check 'three drives' 2 $?
"$husk" create vm --disk 1M --floppy "$dir/a" >/dev/null 2>"$dir/err"
check 'a VM with a floppy drive' "$(realpath "$dir/a")" \
    "$("$husk" get vm floppy)"
"$husk" set vm floppy= >/dev/null 2>"$dir/err"

# --- A boot sector ------------------------------------------------------------

# It reads sector 0/1/2 by INT 13h, writes it to 79/1/last, and says "done" on
# the serial port, or "fail" with what the BIOS had in AH.
cat >"$dir/boot.S" <<'E2'
.code16
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $0x0201, %ax
    movw $0x9000, %bx
    movw $0x0002, %cx
    movw $0x0000, %dx
    int $0x13
    jc 1f
    movw $0x0301, %ax
    movb $79, %ch
    movb $LAST, %cl
    movw $0x0100, %dx
    int $0x13
    jc 1f
    movw $done, %si
    jmp 2f
1:  movw $fail, %si
    addb $'0', %ah
    movb %ah, 5(%si)
2:  movw $0x3f8, %dx
3:  lodsb
    testb %al, %al
    jz 4f
    outb %al, %dx
    jmp 3b
4:  movb $0, %al
    movw $0xf4, %dx
    outb %al, %dx
    hlt
done: .asciz "done\n"
fail: .asciz "fail .\n"
.org 510
.word 0xaa55
E2

sector() # SECTORS KIB
{
    gcc -m32 -c -Wa,--defsym,LAST="$1" -o "$dir/boot.o" "$dir/boot.S" &&
        ld -m elf_i386 -e 0 -Ttext 0x7c00 --oformat binary -o "$dir/disk" \
            "$dir/boot.o" || return
    yes "a disk of $2" | head -c 512 >>"$dir/disk"
    truncate -s "$2K" "$dir/disk"
}

boot_disk() # OPTION...
{
    rm -f "$dir/serial"
    timeout 60 "$husk" run --floppy "$dir/disk" --boot floppy --debug-exit \
        -s "$dir/serial" "$@" </dev/null >/dev/null 2>"$dir/err"
    check "$kib KiB: it ends by itself" 1 $?
}

writes() # SECTORS KIB
{
    local kib=$2

    sector "$1" "$2"
    check "$kib KiB: the boot sector is built" 0 $?
    boot_disk
    check "$kib KiB: it was read and written" 1 \
        "$(grep -ac 'done$' "$dir/serial")"
    check "$kib KiB: the last sector is the second" \
        "$(dd if="$dir/disk" bs=512 skip=1 count=1 status=none | sha256sum)" \
        "$(tail -c 512 "$dir/disk" | sha256sum)"
}

# --- GRUB ---------------------------------------------------------------------

grub()
{
    cp "$media/grub-rescue-floppy.img" "$dir/grub"
    truncate -s 1440K "$dir/grub"
    start --floppy "$dir/grub" --boot floppy
    shows "GRUB's floppy image: the menu" '^ .\*GNU/Linux '
    "$husk" key vm c 2>"$dir/err"
    shows 'its command line' '^grub> *$'
    "$husk" key vm --text 'ls (fd0)/boot/grub' && "$husk" key vm ret
    shows 'it reads its files from the drive' 'i386-pc'
    stop
}

if [ ! -e /usr/share/seabios/bios-256k.bin ]; then
    skip 'booting' 'the package seabios is not installed'
else
    if command -v gcc >/dev/null; then
        writes 9 720
        writes 15 1200
        writes 18 1440
        writes 36 2880
    else
        skip 'a boot sector' 'there is no gcc'
    fi
    if tests/guests-real/make_media.sh; then
        grub
    else
        skip GRUB 'its package cannot be had'
    fi
fi
stop
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
