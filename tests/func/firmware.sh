#!/bin/bash
# Firmware as its package has it: SeaBIOS runs the boot sector of a disk, OVMF
# a script in an EFI partition and keeps its variables, and what cannot start
# says why. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
export PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh
# shellcheck source=tests/func/lib/bare.sh
. tests/func/lib/bare.sh

show()
{
    tail -n 5 "$dir/serial" "$dir/err" 2>/dev/null
}

h()
{
    rm -f "$dir/serial" "$dir/log"
    timeout "${limit:-60}" "$husk" run -s "$dir/serial" "$@" </dev/null \
        >/dev/null 2>"$dir/err"
}

boot_disk "$dir/disk.img" 'boot sector'
disk=$dir/disk.img,format=raw

# --- What cannot start ----------------------------------------------------------

h --firmware coreboot -d "$disk"
check 'firmware that there is not' 2 $?
h --firmware none -d "$disk"
check 'neither firmware nor kernel' 2 $?
h --firmware bios -k "$dir/disk.img"
check 'a kernel that is none' 2 $?
h --firmware bios --firmware-vars "$dir/vars" -d "$disk"
check 'variables without UEFI' 2 $?

# --- SeaBIOS --------------------------------------------------------------------

bios()
{
    local cpus

    for cpus in 1 2; do
        h -c $cpus -d "$disk" --debugcon "$dir/log"
        check "SeaBIOS, $cpus CPUs: power-off" 0 $?
        check 'the boot sector ran' 1 "$(grep -ac 'boot sector' "$dir/serial")"
        check 'it is the firmware of its choice' 1 \
            "$(grep -ac '^Booting from Hard Disk' "$dir/log")"
        check 'it found the CPUs' 1 \
            "$(grep -ac "^Found $cpus cpu(s)" "$dir/log")"
        check 'it took the tables' 1 "$(grep -ac '^ACPI: parse DSDT' "$dir/log")"
        check 'no system management mode' 0 "$(grep -ac 'SMM' "$dir/log")"
    done
    h -m 5G -d "$disk" --debugcon "$dir/log"
    check 'SeaBIOS, memory above 4 GiB' 0 $?
    check 'it is in the map' 1 \
        "$(grep -ac '0000000100000000 - 0000000180000000 = 1 RAM' "$dir/log")"
}

# A boot sector that leaves a mark in CMOS memory and resets by port 0xcf9, and
# switches off when it finds the mark.
printf '%b' '\x31\xc0\x8e\xd8\xb0\x44\xe6\x70\xe4\x71\x3c\x5a\x74\x0f' \
    '\xb0\x44\xe6\x70\xb0\x5a\xe6\x71\xba\xf9\x0c\xb0\x06\xee\xf4' \
    '\xba\x04\x06\xb8\x00\x34\xef\xf4\xeb\xfd' >"$dir/reset.img"
truncate -s 510 "$dir/reset.img"
printf '\x55\xaa' >>"$dir/reset.img"
truncate -s 1M "$dir/reset.img"

resets()
{
    h -c 2 -d "$dir/reset.img,format=raw" --debugcon "$dir/log"
    check 'a reset, then power-off' 0 $?
    check 'the firmware ran twice' 2 \
        "$(grep -ac '^Booting from Hard Disk' "$dir/log")"
}

# --- OVMF -----------------------------------------------------------------------

efi_disk() # LINE...: the shell runs them after five seconds
{
    rm -f "$dir/efi.img"
    truncate -s 16M "$dir/efi.img"
    mkfs.vfat -F 16 "$dir/efi.img" >/dev/null
    printf '%s\r\n' "$@" 'reset -s' >"$dir/startup.nsh"
    mcopy -i "$dir/efi.img" "$dir/startup.nsh" ::/
}

uefi()
{
    local limit=90

    efi_disk 'set husk remembers'
    h --firmware uefi --firmware-vars "$dir/vars" -d "$dir/efi.img,format=raw"
    check 'OVMF: power-off' 0 $?
    efi_disk 'echo it %husk%'
    h -c 2 --firmware uefi --firmware-vars "$dir/vars" \
        -d "$dir/efi.img,format=raw"
    check 'OVMF, 2 CPUs: power-off' 0 $?
    check 'variables were kept' 1 "$(grep -ac '^it remembers' "$dir/serial")"
    truncate -s 4096 "$dir/vars"
    h --firmware uefi --firmware-vars "$dir/vars" -d "$disk"
    check 'variables of something else' 2 $?
}

# A VM keeps them in its file: with its snapshots, and for QEMU's tools to see.
vm() # NAME: run it, and say what the script saw
{
    h "$1"
    sed -nE 's/^was ([a-z]*).*/\1/p' "$dir/serial" | tr -d '\r'
}

vm_uefi()
{
    local limit=90 image

    export HUSK_HOME=$dir/home
    image=$HUSK_HOME/u.husk
    efi_disk 'echo was %husk%' 'set husk x%husk%' # longer with each run
    "$husk" import "$dir/efi.img" u -f raw -m 256M --firmware uefi -q
    check 'a VM begins with none' '' "$(vm u)"
    check 'what it set is there' x "$(vm u)"
    "$husk" snapshot u s -q
    check 'and grows' xx "$(vm u)"
    cp "$image" "$HUSK_HOME/copy.husk"
    check 'a copy has it' xxx "$(vm copy)"
    check 'husk lists snapshots' s "$("$husk" snapshots u -o name)"
    "$husk" restore u@s -q --no-save
    check 'a restore brings back what it was' xx "$(vm u)"
    h u --firmware-vars "$dir/vars2"
    check 'a file goes over it' '' \
        "$(sed -nE 's/^was ([a-z]*).*/\1/p' "$dir/serial" | tr -d '\r')"
    "$husk" check u -q
    check 'its file is sound' 0 $?
    command -v qemu-img >/dev/null || return
    check 'QEMU shows what it is' 1 \
        "$(qemu-img snapshot -l "$image" | grep -c 'UEFI variables')"
    qemu-img snapshot -a husk-uefi "$image" 2>"$dir/err"
    check 'and refuses to apply it' 1 $?
    for step in 'snapshot -c theirs' 'resize -q' 'snapshot -a s' \
        'snapshot -d theirs' 'check -q -r all' 'snapshot -d s'; do
        # shellcheck disable=SC2086
        qemu-img $step "$image" $([ "$step" = 'resize -q' ] && echo +8M) \
            >"$dir/err" 2>&1
        check "qemu-img $step" 0 $?
    done
    check 'it stays through all of these' xxx "$(vm u)"
    qemu-img snapshot -d 'husk: UEFI variables (no snapshot)' "$image"
    check 'they can be given up' '' "$(vm u)"
}

# Linux by firmware: it finds the tables (FADT and all), turns ACPI on, and
# switches off by it.
acpi() # FIRMWARE OPTION...
{
    local fw=$1 limit=120

    h "${@:2}" --kernel build/guest/vmlinuz --initrd build/guest/initrd.gz \
        --append 'console=ttyS0 husk.test=true'
    check "$fw: Linux switches off" 0 $?
    check "$fw: ACPI: FADT, DSDT, FACS, MADT, HPET" 5 \
        "$(grep -acE 'ACPI: (FACP|DSDT|FACS|APIC|HPET) 0x' "$dir/serial")"
    check "$fw: ACPI is on" 1 \
        "$(grep -ac 'ACPI: Interpreter enabled' "$dir/serial")"
    check "$fw: PCI by it" 1 \
        "$(grep -ac 'ACPI: PCI Root Bridge' "$dir/serial")"
    check "$fw: nothing is wrong with it" '' \
        "$(grep -aE 'ACPI.*(Warning|Error|BIOS|[Ff]ailed|Unable)' "$dir/serial")"
}

kernels() # started by OVMF
{
    local limit=90

    h --firmware uefi --no-reboot --kernel build/guest/vmlinuz \
        --append 'console=ttyS0 panic=-1'
    check 'OVMF starts a kernel' 1 \
        "$(grep -ac 'Kernel panic - not syncing: VFS' "$dir/serial")"
    check 'as an EFI program' 1 "$(grep -ac 'efi: EFI v' "$dir/serial")"
}

# Named first, the network is tried first; it has nothing to boot.
network()
{
    rm -f "$dir/serial"
    timeout 60 "$husk" run -s "$dir/serial" --firmware uefi --boot net -d "$disk" \
        </dev/null >/dev/null 2>"$dir/err" &
    for ((i = 0; i < 300; i++)); do
        grep -aqE 'Start PXE|Boot Failed|Shell>' "$dir/serial" 2>/dev/null && break
        sleep 0.2
    done
    kill %1
    wait %1
    check 'OVMF tries the network' 1 "$(grep -ac 'Start PXE' "$dir/serial")"
}

if h -d "$disk"; then
    bios
    resets
    [ -e build/guest/vmlinuz ] && acpi SeaBIOS --firmware bios
elif grep -q "'seabios'" "$dir/err"; then
    skip SeaBIOS 'the package seabios is not installed'
else
    check 'a disk starts by itself' 0 1
fi
if [ ! -e /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
    skip OVMF 'the package ovmf is not installed'
elif ! command -v mcopy >/dev/null || ! command -v mkfs.vfat >/dev/null; then
    skip OVMF 'there is no mcopy or mkfs.vfat'
else
    uefi
    vm_uefi
    network
    if [ -e build/guest/vmlinuz ]; then
        kernels
        acpi OVMF --firmware uefi
        acpi 'OVMF, 2 CPUs' --firmware uefi -c 2
    fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
