#!/bin/bash
# The remote stub with a real gdb: breakpoints, steps, registers, memory,
# Ctrl-C and the end of a bare guest of two CPUs. --qemu: with QEMU's stub
# instead, which tells whether this script is right.
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
command -v gdb >/dev/null || {
    echo "gdb.sh: skipped: no gdb"
    exit 77
}
dir=$(mktemp -d)
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
passed=0 failed=0

gcc -std=c17 -O1 -g -ffreestanding -fno-pie -mno-red-zone \
    -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
    -fno-omit-frame-pointer -fno-ipa-ra -fno-ipa-cp -nostdlib -static -no-pie \
    -Wl,-z,max-page-size=0x1000,--build-id=none,--no-warn-rwx-segments \
    -T tests/perf/ipi/ipi.ld -o "$dir/guest.64" tests/perf/ipi/start.S \
    tests/func/gdb/guest.c || exit 1
objcopy -O elf32-i386 "$dir/guest.64" "$dir/guest"

if [ "$1" = --qemu ]; then
    qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 64 -display none -S \
        -kernel "$dir/guest" -gdb "unix:$dir/gdb,server=on,wait=off" &
else
    timeout 120 "$husk" run --kernel "$dir/guest" --cpus 2 --memory 64M \
        --gdb "unix:$dir/gdb,wait" </dev/null &
fi
vm=$!
for ((i = 0; i < 100; i++)); do
    [ -S "$dir/gdb" ] && break
    sleep 0.1
done

# debug COMMAND...: what gdb prints, all in $out.
debug()
{
    local args=()
    for c in "$@"; do
        args+=(-ex "$c")
    done
    out=$(timeout 60 gdb -nx -q -batch -ex 'set confirm off' \
        -ex "file $dir/guest.64" -ex "target remote $dir/gdb" "${args[@]}" \
        </dev/null 2>&1)
}

# expect WHAT PATTERN...: each is a line of $out.
expect()
{
    local what=$1 pattern
    shift
    for pattern; do
        if ! grep -Eq -- "$pattern" <<<"$out"; then
            echo "gdb.sh: $what: FAILED, no line like '$pattern' in:"
            sed 's/^/    /' <<<"$out"
            failed=$((failed + 1))
            return
        fi
    done
    passed=$((passed + 1))
}

# Nothing has run yet: the first instruction, in 32-bit protected mode.
debug 'p $rip == (unsigned long)&start' 'info threads' \
    'hbreak tick' 'continue' 'p $rdi' 'bt' 'p/x $cs' 'p ($cr0 >> 31) & 1' \
    'p ($efer >> 10) & 1' 'delete' 'detach'
[ "$1" = --qemu ] || expect 'wait stops before the first instruction' \
    '^\$1 = 1$'
expect 'CPUs are threads' '^\* 1 ' '^  2 '
expect 'a hardware breakpoint stops in long mode' \
    'Breakpoint 1, tick' '^\$2 = 3$' '^#1 .* main' '^\$3 = 0x18$' '^\$4 = 1$' \
    '^\$5 = 1$'

debug 'break tick' 'continue' 'set var counter = 1000' 'finish' 'p counter' \
    'continue' 'continue' 'p counter' 'p $rip == (unsigned long)&tick' \
    'delete' 'detach'
expect 'memory is written and read' '^\$1 = 1003$'
expect 'a software breakpoint is met each time round' '^\$2 = 1006$'

debug 'break *tick' 'continue' 'delete' 'stepi' 'p $rip > (long)&tick' \
    'p $rip < (long)&tick + 16' 'set $rdi = 41' 'set var counter = 1' \
    'finish' 'p counter' 'set $r11 = 0x1234567890abcdef' 'p/x $r11' \
    'set $xmm3.v2_int64[1] = 77' 'p $xmm3.v2_int64' 'detach'
expect 'a step executes one instruction' '^\$1 = 1$' '^\$2 = 1$'
expect 'registers are written' '0x1234567890abcdef' '\{0, 77\}'

# Other things may stop a guest, but not this one: it is the Ctrl-C.
debug 'shell (sleep 1; kill -INT $PPID) &' 'continue' 'info symbol $rip' \
    'set var counter = 0' 'detach'
expect 'Ctrl-C stops a running guest' 'received signal SIGINT' \
    'in section \.text'
sleep 0.3
debug 'p counter > 1000' 'detach'
expect 'after detaching the guest runs on' '^\$1 = 1$'

debug 'kill'
status=0
wait "$vm" || status=$?
vm=
if [ "$status" -eq 0 ] && [ ! -e "$dir/gdb" -o "$1" = --qemu ]; then
    passed=$((passed + 1))
else
    echo "gdb.sh: kill ends the machine: FAILED (status $status)"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
