#!/bin/bash
# Real programs (guest/programs) in a Debian guest: compilers, interpreters, a
# JIT, ciphers, compressors, a database. Each must end well and print what it
# prints on the host.
#
# usage: tests/guests-real/programs.sh [--cpus N] [--tcg]
#
# Logs: build/guests-real/programs-{native,guest}.log. HUSK names the binary;
# --tcg: QEMU's TCG instead, which tells whether a failure is husk's.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
cpus=2 tcg= out=build/guests-real
while [ $# -gt 0 ]; do
    case $1 in
    --cpus) cpus=$2 && shift ;;
    --tcg) tcg=1 ;;
    *)
        echo "programs.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
tools/make-guest && tests/guests-real/make_debian.sh >/dev/null || exit 1

# In a namespace of its own, so that /dev and /proc are there and go again.
unshare --map-root-user --mount --pid --fork sh -c "cd $out/debian &&
    mount --rbind /dev dev && mount -t proc proc proc &&
    mount -t tmpfs tmp tmp &&
    env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C HOME=/tmp chroot . /real/programs" \
    </dev/null >"$out/programs-native.log" 2>&1 ||
    echo "programs.sh: not run on the host: $(tail -n 1 "$out/programs-native.log")"

append='console=ttyS0 quiet husk.test="/real/programs"'
if [ -n "$tcg" ]; then
    timeout 3000 qemu-system-x86_64 -M pc -accel tcg -cpu max -smp "$cpus" \
        -m 2G -nographic -no-reboot -nic none -kernel build/guest/vmlinuz \
        -initrd "$out/debian.cpio.zst" -append "$append"
else
    timeout 900 "$husk" run --cpus "$cpus" --memory 2G --no-reboot \
        --kernel build/guest/vmlinuz --initrd "$out/debian.cpio.zst" \
        --append "$append"
fi </dev/null 2>&1 | tr -d '\r' >"$out/programs-guest.log"

# what LOG NAME: how it ended, and the digest of what it printed
what()
{
    sed -n "s/^real $2 //p; s/^    $2: //p" "$1" | tr '\n' ' '
}

passed=0 failed=0
for name in $(sed -n 's/^real \([^ ()]*\) .*/\1/p' tests/guests-real/guest/programs); do
    [ "$name" = gcc ] && continue
    native=$(what "$out/programs-native.log" "$name")
    guest=$(what "$out/programs-guest.log" "$name")
    if [ "${guest##*[0-9a-f] }" = "" ] && [ "$guest" = "${native:-$guest}" ] &&
        [[ $guest == *" 0 " ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "programs.sh: $name: FAILED: '$guest', on the host '$native'"
    fi
done
grep -aE 'BUG:|Oops|WARNING:|stall|traps:|segfault' "$out/programs-guest.log"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
