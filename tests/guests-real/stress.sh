#!/bin/bash
# stress-ng with verification in a Debian guest of 2 CPUs: it must find nothing
# wrong, and the kernel must not complain.
#
# usage: tests/guests-real/stress.sh [--seconds N] [--cpus N]
#
# Default 600 s. The log is build/guests-real/stress.log. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
seconds=600 cpus=2 out=build/guests-real
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    *)
        echo "stress.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
tools/make-guest && tests/guests-real/make_debian.sh >/dev/null || exit 1

classes="--cpu 2 --vm 1 --vm-bytes 64M --fork 1 --signal 1 --futex 1 --mmap 1"
classes+=" --mmap-bytes 32M --switch 1 --clock 1 --timer 1"
timeout $((seconds * 2 + 120)) "$husk" run --cpus "$cpus" --memory 2G \
    --kernel build/guest/vmlinuz --initrd "$out/debian.cpio.zst" --no-reboot \
    --append "console=ttyS0 quiet husk.test=\"stress-ng $classes --verify \
--metrics-brief -t $seconds\"" </dev/null 2>&1 | tr -d '\r' >"$out/stress.log"
grep -a 'metrc' "$out/stress.log"
bad=$(grep -aE 'fail:|error:|BUG:|Oops|WARNING:|stall|lockup|traps:|segfault' \
    "$out/stress.log")
if [ -z "$bad" ] && grep -q '^husk-test: status 0' "$out/stress.log" &&
    grep -q 'successful run completed' "$out/stress.log"; then
    echo "1 passed, 0 failed, 0 skipped"
    exit 0
fi
echo "stress.sh: FAILED: ${bad:-it did not end:}"
tail -n 5 "$out/stress.log"
echo "0 passed, 1 failed, 0 skipped"
exit 1
