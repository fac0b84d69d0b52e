#!/bin/bash
# Boot the disk of make_disk.sh through firmware and its own boot loader, again
# and again: from virtio-blk and from IDE under SeaBIOS, and under OVMF. A boot
# is good if it comes to the login prompt, lets root in, sees its CPUs and ends
# by itself after `poweroff`. Each starts from the same disk.
#
# usage: tests/guests-real/disk_boots.sh [--ways LIST] [--cpus LIST] [--boots N]
#                                        [--qemu] [--keep DIR]
#
# LIST is words in quotes; ways: virtio ide uefi direct. --qemu: each way once
# in QEMU's TCG too, with the same disk and firmware files, and the ratio of the
# times to the login prompt. --keep: the consoles of failed boots go to DIR.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
ways="virtio ide uefi" cpus="1 2" boots=1 qemu='' keep=''
while [ $# -gt 0 ]; do
    case $1 in
    --ways) ways=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --boots) boots=$2 && shift ;;
    --keep) keep=$2 && shift ;;
    --qemu) qemu=1 ;;
    *)
        echo "disk_boots.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
disk=build/guests-real/disk.img
[ -e "$disk" ] || tests/guests-real/make_disk.sh || exit 1
disk=$(realpath "$disk")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

# What to run for a way, into the array run. $1: husk or qemu.
run_of() # WHO WAY CPUS
{
    local drive="if=virtio"
    run=("$husk" run --memory 1G --cpus "$3" --no-reboot)
    case $2 in
    virtio) run+=(--firmware bios --disk "$dir/disk.qcow2") ;;
    ide) run+=(--firmware bios --disk "$dir/disk.qcow2,bus=ide") ;;
    uefi) run+=(--firmware uefi --disk "$dir/disk.qcow2") ;;
    direct) run+=(--firmware none --disk "$dir/disk.qcow2") ;;
    esac
    [ "$1" = qemu ] || return 0
    [ "$2" = ide ] && drive="if=ide"
    run=(qemu-system-x86_64 -M pc -accel tcg -cpu max -m 1G -smp "$3"
        -nographic -no-reboot -nic none
        -drive "file=$dir/disk.qcow2,format=qcow2,$drive")
    [ "$2" = uefi ] && run+=(-drive
        "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
        -drive "if=pflash,format=raw,file=$dir/vars.fd")
    return 0
}

# Milliseconds to the login prompt in $took; what is wrong in $wrong.
boot() # WHO WAY CPUS
{
    local start pid i status=0
    qemu-img create -q -f qcow2 -F raw -b "$disk" "$dir/disk.qcow2"
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$dir/vars.fd"
    run_of "$@"
    rm -f "$dir/in" "$dir/console" && mkfifo "$dir/in"
    start=$(date +%s%3N) took='' wrong=''
    timeout 240 "${run[@]}" <"$dir/in" >"$dir/console" 2>&1 &
    pid=$!
    exec 3>"$dir/in"
    for ((i = 0; i < 2000; i++)); do
        grep -qa "login: " "$dir/console" 2>/dev/null && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    took=$(($(date +%s%3N) - start))
    printf 'root\n' >&3
    for ((i = 0; i < 100; i++)); do
        grep -qa "# " "$dir/console" && break
        sleep 0.2
    done
    printf 'echo cpus $(nproc); poweroff\n' >&3
    wait $pid || status=$?
    exec 3>&-
    [ $status -eq 0 ] || wrong="ends with status $status"
    grep -qa "login: " "$dir/console" || wrong="no login prompt"
    grep -qa "cpus $3" "$dir/console" || wrong="${wrong:-not $3 CPUs}"
}

one() # WAY CPUS ROUND
{
    boot husk "$1" "$2"
    times+=("$took")
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "disk_boots.sh: $1, $2 CPU(s), boot $3: FAILED: $wrong"
    tail -n 5 "$dir/console" | sed 's/^/    /'
    if [ -n "$keep" ]; then
        mkdir -p "$keep" && cp "$dir/console" "$keep/$1-$2-$3"
    fi
}

# The median of the numbers on stdin.
median()
{
    sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

for way in $ways; do
    for c in $cpus; do
        times=()
        for ((r = 1; r <= boots; r++)); do
            one "$way" "$c" "$r"
        done
        ours=$(printf '%s\n' "${times[@]}" | median)
        line="$way, $c CPU(s): $ours ms to the login prompt"
        if [ -n "$qemu" ] && [ "$way" != direct ]; then
            boot qemu "$way" "$c"
            line+=", QEMU $took ms: $((100 * ours / took))%"
        fi
        echo "disk_boots.sh: $line; $passed passed, $failed failed so far"
    done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
