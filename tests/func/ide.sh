#!/bin/bash
# IDE: SeaBIOS boots from a hard disk and from CDs there, boot loaders' own
# images reach their menus, Linux reads and writes, and CDs are changed while it
# runs (cmd_media.c). HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
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
    rm -f "$dir/serial"
    timeout 60 "$husk" run -s "$dir/serial" "$@" </dev/null >/dev/null \
        2>"$dir/err"
}

# until_says TEXT OPTION...: run until it is on the serial port; then end it.
until_says()
{
    local text=$1 pid i
    shift
    rm -f "$dir/serial"
    "$husk" run -s "$dir/serial" "$@" </dev/null >/dev/null 2>"$dir/err" &
    pid=$!
    pids+=($pid)
    for ((i = 0; i < 600; i++)); do
        grep -aqF "$text" "$dir/serial" 2>/dev/null && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill $pid 2>/dev/null
    wait $pid
    grep -aqF "$text" "$dir/serial"
}

boot_disk "$dir/disk.img" 'from a disk'
disk=$dir/disk.img,format=raw,bus=ide

# --- What cannot start ----------------------------------------------------------

h --iso "$dir/none"
check 'a CD that there is not' 2 $?
: >"$dir/empty"
h --iso "$dir/empty"
check 'a CD without a block' 2 $?
h -d "$dir/disk.img,bus=scsi"
check 'another bus' 2 $?
h --iso none --iso none --iso none
check 'three CD-ROM drives' 2 $?
h -d 1M,bus=ide -d 1M,bus=ide -d 1M,bus=ide --iso none --iso none
check 'five drives' 2 $?
check 'it says what to do' 1 "$(grep -c 'put a disk on virtio' "$dir/err")"

# --- SeaBIOS --------------------------------------------------------------------

bios()
{
    check 'a boot sector ran' 1 "$(grep -ac 'from a disk' "$dir/serial")"
    h -d "$disk" -d 1M,bus=ide -d 1M,bus=ide --iso none --debugcon "$dir/log"
    check 'four drives' 0 $?
    check 'SeaBIOS found the disks' 3 "$(grep -ac 'husk disk ATA-7' "$dir/log")"
    check 'and the empty drive' 1 "$(grep -ac 'husk CD-ROM ATAPI-7' "$dir/log")"
}

cds()
{
    local tree=$dir/tree

    mkdir -p "$tree"
    boot_disk "$tree/boot.bin" 'from a CD'
    truncate -s 2048 "$tree/boot.bin"
    xorriso -as mkisofs -quiet -V HUSK -no-emul-boot -boot-load-size 4 \
        -b boot.bin -o "$dir/cd.iso" "$tree" 2>"$dir/err"
    check 'made a CD' 0 $?
    h --iso "$dir/cd.iso"
    check 'it starts by itself' 0 $?
    check 'its boot sector ran' 1 "$(grep -ac 'from a CD' "$dir/serial")"
    h --iso none --iso "$dir/cd.iso" -d 1M
    check 'the second drive, behind an empty disk' 1 \
        "$(grep -ac 'from a CD' "$dir/serial")"
}

# What is in packages: image, and what it shows on the way.
loaders()
{
    local image text

    while IFS='|' read -r image text; do
        if [ ! -e "$image" ]; then
            skip "$image" 'it is not installed'
            continue
        fi
        until_says "$text" --iso "$image"
        check "$image" 0 $?
    done <<'END'
/usr/lib/grub-rescue/grub-rescue-cdrom.iso|The highlighted entry will be executed
/usr/lib/ipxe/ipxe.iso|Press Ctrl-B for the iPXE command line
END
}

# A CD as installers are: isolinux, a kernel and its RAM disk.
isolinux()
{
    local tree=$dir/installer

    if [ ! -e /usr/lib/ISOLINUX/isolinux.bin ] || ! tools/make-guest; then
        skip isolinux 'it is not installed, or there is no guest'
        return
    fi
    mkdir -p "$tree/isolinux"
    cp /usr/lib/ISOLINUX/isolinux.bin build/guest/vmlinuz \
        build/guest/initrd.gz /usr/lib/syslinux/modules/bios/ldlinux.c32 \
        "$tree/isolinux"
    cat >"$tree/isolinux/isolinux.cfg" <<'END'
default linux
label linux
    kernel vmlinuz
    append initrd=initrd.gz console=ttyS0 quiet husk.test=true
END
    xorriso -as mkisofs -quiet -no-emul-boot -boot-load-size 4 \
        -boot-info-table -b isolinux/isolinux.bin -c isolinux/boot.cat \
        -o "$dir/installer.iso" "$tree" 2>"$dir/err"
    h --iso "$dir/installer.iso"
    check 'a kernel from a CD' 0 $?
    check 'it ran' 1 "$(grep -ac 'husk-test: status 0' "$dir/serial")"
}

if h -d "$disk"; then
    bios
    if command -v xorriso >/dev/null; then
        cds
        isolinux
    else
        skip 'a CD' 'there is no xorriso'
    fi
    loaders
elif grep -q "'seabios'" "$dir/err"; then
    skip SeaBIOS 'the package seabios is not installed'
else
    check 'a disk starts by itself' 0 1
fi

# --- Linux ----------------------------------------------------------------------

guest=build/guest/amd64
# linux SCRIPT OPTION...: a kernel with ata_piix carries out what is on sda.
linux_script()
{
    printf '%s\n' "$1" >"$dir/script"
    truncate -s 64K "$dir/script"
}
# Which drive is sda is chance: the script's has 128 sectors.
append='console=ttyS0 quiet husk.test="for b in /sys/block/sd*; do
[ $(cat $b/size) = 128 ] && tr -d \\000 </dev/${b##*/} >/tmp/s; done; sh /tmp/s"'
append=${append//$'\n'/ }
linux=(-k "$guest/vmlinuz" -i "$guest/ide.gz" -a "$append"
    -d "$dir/script,format=raw,bus=ide")

data() # HOW APPEND
{
    local sum

    head -c 8M /dev/urandom >"$dir/data"
    truncate -s 9M "$dir/copy"
    sum=$(md5sum <"$dir/data")
    linux_script 'of_size() {
    for b in /sys/block/sd*; do
        [ $(cat $b/size) = $1 ] && echo ${b##*/}
    done
}
data=$(of_size 16384) copy=$(of_size 18432)
dd if=/dev/$data of=/dev/$copy bs=1M 2>&1 && sync
head -c 8388608 /dev/$copy | md5sum
md5sum </dev/sr0
cat /sys/block/$data/device/model; dmesg -r | grep "^<[0-3]>"'
    h "${linux[@]}" -a "$append $2" -d "$dir/data,format=raw,bus=ide,ro" \
        -d "$dir/copy,format=raw,bus=ide" --iso "$dir/data"
    check "Linux with four drives, $1" 0 $?
    check "it ended well, $1" 1 "$(grep -ac 'husk-test: status 1' "$dir/serial")"
    check "the disk and the CD are what they are, $1" 2 \
        "$(grep -acF "${sum%% *}" "$dir/serial")"
    check "what was written is there, $1" "$sum" \
        "$(head -c 8M "$dir/copy" | md5sum)"
    check 'the drive has its name' 1 "$(grep -ac '^husk disk' "$dir/serial")"
}

# says TEXT: wait until it is on the serial port.
says()
{
    local i

    for ((i = 0; i < 600; i++)); do
        grep -aqF "$1" "$dir/serial" 2>/dev/null && return
        sleep 0.1
    done
    return 1
}

media()
{
    local pid label

    for label in first second; do
        xorriso -as mkisofs -quiet -V "$label" -o "$dir/$label.iso" \
            "$dir/tree" 2>"$dir/err"
    done
    linux_script 'id() { dd if=/dev/sr0 bs=1 skip=32808 count=6 2>/dev/null; }
there() { dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null; }
until there; do sleep 0.1; done
echo "CD: $(id)"
exec 5</dev/sr0
echo "CD: held"
while there; do sleep 0.1; done
echo "CD: gone"
exec 5<&-
until there; do sleep 0.1; done
echo "CD: $(id)"'
    "$husk" create cd -d 1M --iso "$dir/first.iso" >"$dir/err" 2>&1
    check 'a VM with a CD' 0 $?
    check 'it is in its settings' "$(realpath "$dir/first.iso")" \
        "$("$husk" get cd iso)"
    rm -f "$dir/serial"
    "$husk" run cd "${linux[@]}" -s "$dir/serial" </dev/null >/dev/null \
        2>"$dir/err" &
    pid=$!
    pids+=($pid)
    says 'CD: first'
    check 'the guest reads it' 0 $?
    says 'CD: held'
    "$husk" eject cd 2>"$dir/err"
    check 'a locked drive keeps it' 4 $?
    "$husk" eject cd --force >"$dir/err" 2>&1
    check 'but by force' 0 $?
    says 'CD: gone'
    check 'the guest misses it' 0 $?
    check 'so do the settings' none "$("$husk" get cd iso)"
    "$husk" insert cd "$dir/nothing" 2>"$dir/err"
    check 'a CD that there is not' 3 $?
    "$husk" insert cd "$dir/second.iso" >"$dir/err" 2>&1
    check 'another CD' 0 $?
    says 'CD: second'
    check 'the guest reads that' 0 $?
    wait $pid
    check 'it ended well' 0 $?
    check 'the next start has it' "$(realpath "$dir/second.iso")" \
        "$("$husk" get cd iso)"
    "$husk" eject cd >"$dir/err" 2>&1
    check 'ejected while it does not run' none "$("$husk" get cd iso)"
}

if ! tools/make-guest --flavour amd64 --ide; then
    skip Linux 'there is no guest'
else
    data DMA ''
    data PIO libata.dma=0
    if command -v xorriso >/dev/null; then
        media
    else
        skip media 'there is no xorriso'
    fi
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
