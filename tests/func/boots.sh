#!/bin/bash
# Boot stock kernels again and again: each flavour with each number of CPUs and
# each memory size. A boot is good if it ends by itself, all CPUs came up, a
# sleep took its time on each of them, and the kernel complained of nothing.
#
# usage: tests/func/boots.sh [--flavours LIST] [--cpus LIST] [--memory LIST]
#                            [--boots N] [--keep DIR] [--qemu]
#
# LIST is words in quotes; flavours as tools/make-guest has them. --keep: the
# consoles of failed boots go to DIR. --qemu: QEMU's TCG instead of husk.
# HUSK names the binary. Memory that the host lacks is skipped.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
flavours="cloud-amd64 amd64 686-pae" cpus="1 2 4" memory="256M 2G 8G"
boots=1 keep= qemu=
while [ $# -gt 0 ]; do
    case $1 in
    --flavours) flavours=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --memory) memory=$2 && shift ;;
    --boots) boots=$2 && shift ;;
    --keep) keep=$2 && shift ;;
    --qemu) qemu=1 ;;
    *)
        echo "boots.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0

# Runs in the guest. Every CPU sleeps, so each timer must fire; a delay of more
# than 5 s is an interrupt that came late or by luck.
guest_test="n=\$(nproc); c=0; while [ \$c -lt \$n ]; do s=\$(date +%s);"
guest_test+=" taskset -p \$((1 << c)) \$\$ >/dev/null; sleep 0.2;"
guest_test+=" [ \$((\$(date +%s) - s)) -le 5 ] && echo awake \$c;"
guest_test+=" c=\$((c + 1)); done; dd if=/dev/hwrng of=/dev/null bs=512 count=8;"
guest_test+=" echo online \$n; dmesg -r | grep '^<[0-4]>'; true"

# Nothing of this may be in the log, at any level.
bad='BUG:|Oops|WARNING:|Call Trace|soft lockup|stall|hung task|nobody cared'
bad+='|[Ll]ost|Spurious|unchecked MSR|general protection|segfault|traps:'
bad+='|Kernel panic|unstable|not respond|timed out|Unexpected|do_IRQ'
bad+='|skew|invalid opcode|split_lock|Firmware Bug|ACPI.*Error'

# But this, which says that a handler ran more than 16 ms late: the host was busy.
late='hpet: Lost [0-9]+ RTC interrupts'

# boot FLAVOUR CPUS MEMORY: the console, in $dir/console.
boot()
{
    local guest=build/guest append="console=ttyS0 husk.test=\"$guest_test\""
    [ "$1" = cloud-amd64 ] || guest+=/$1
    if [ -n "$qemu" ]; then
        timeout 300 qemu-system-x86_64 -M pc -accel tcg -cpu max -smp "$2" \
            -m "$3" -nographic -no-reboot -nic none -device virtio-rng-pci \
            -kernel "$guest/vmlinuz" -initrd "$guest/initrd.gz" \
            -append "$append" </dev/null >"$dir/console" 2>&1
    else
        timeout 120 "$husk" run --kernel "$guest/vmlinuz" \
            --initrd "$guest/initrd.gz" --cpus "$2" --memory "$3" --no-reboot \
            --append "$append" </dev/null >"$dir/console" 2>&1
    fi
}

# check STATUS CPUS: what is wrong with the boot, or nothing.
check()
{
    local found c
    [ "$1" -eq 124 ] && echo "hangs" && return
    [ "$1" -eq 0 ] || echo "ends with status $1"
    grep -q '^husk-test: status 0' "$dir/console" || echo "the test did not end"
    grep -q "^online $2.\?\$" "$dir/console" || echo "not $2 CPUs"
    for ((c = 0; c < $2; c++)); do
        grep -q "^awake $c.\?\$" "$dir/console" || echo "CPU $c sleeps too long"
    done
    found=$(grep -aE "$bad" "$dir/console" | grep -avE "$late" | head -n 3)
    [ -z "$found" ] || echo "the kernel says: $found"
}

# one FLAVOUR CPUS MEMORY ROUND
one()
{
    local status=0 wrong
    boot "$1" "$2" "$3" || status=$?
    wrong=$(check "$status" "$2")
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "boots.sh: $1, $2 CPU(s), $3, boot $4: FAILED: $wrong"
    tail -n 5 "$dir/console" | sed 's/^/    /'
    if [ -n "$keep" ]; then
        mkdir -p "$keep"
        cp "$dir/console" "$keep/$1-$2-$3-$4"
    fi
}

# Untouched guest memory costs nothing, but a host may refuse to promise it.
for flavour in $flavours; do
    tools/make-guest --flavour "$flavour" || {
        skipped=$((skipped + 1))
        continue
    }
    for m in $memory; do
        for c in $cpus; do
            for ((i = 1; i <= boots; i++)); do
                one "$flavour" "$c" "$m" "$i"
            done
        done
        echo "boots.sh: $flavour, $m: $passed passed, $failed failed so far"
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
