#!/bin/bash
# gdb on a booted Linux: find a kernel function, break there, look around,
# step, and let go. Symbols come from the guest's own /proc/kallsyms.
#
# usage: tests/guests-real/gdb_linux.sh [--cpus N]
#
# HUSK names the binary. Ends with 77 if there is no gdb.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=${HUSK:-build/release/husk}
cpus=2
[ "${1:-}" = --cpus ] && cpus=$2
command -v gdb >/dev/null || {
    echo "gdb_linux.sh: skipped: no gdb"
    exit 77
}
tools/make-guest || exit 1
dir=$(mktemp -d)
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
passed=0 failed=0

# start COMMAND GDB_OPTION...: in the background, with the console in a file
start()
{
    local append="console=ttyS0 quiet nokaslr husk.test=\"$1\""
    shift
    timeout 120 "$husk" run --kernel build/guest/vmlinuz --cpus "$cpus" \
        --initrd build/guest/initrd.gz --append "$append" --no-reboot "$@" \
        </dev/null >"$dir/console" 2>&1 &
    vm=$!
}

# expect WHAT PATTERN...: each is a line of $dir/out.
expect()
{
    local what=$1 pattern
    shift
    for pattern; do
        if ! grep -Eq -- "$pattern" "$dir/out"; then
            echo "gdb_linux.sh: $what: FAILED, no line like '$pattern' in:"
            sed 's/^/    /' "$dir/out"
            failed=$((failed + 1))
            return
        fi
    done
    passed=$((passed + 1))
}

start "grep -E ' [tTD] (do_sys_openat2|__x64_sys_getppid|linux_banner|__schedule)\$' /proc/kallsyms"
wait "$vm"
for s in do_sys_openat2 __x64_sys_getppid __schedule; do
    declare "$s=0x$(sed -n "s/^\([0-9a-f]*\) [tT] $s.\?\$/\1/p" "$dir/console")"
done
if [ "$do_sys_openat2" = 0x ]; then
    echo "gdb_linux.sh: the guest does not know its symbols:"
    tail -n 5 "$dir/console"
    exit 1
fi

# A guest that works all the time, and ends when it finds the file.
start "echo working; while [ ! -e /tmp/end ]; do cat /proc/uptime; done >/dev/null; echo done" \
    --gdb "unix:$dir/gdb"
for ((i = 0; i < 600; i++)); do
    grep -q '^working' "$dir/console" && break
    sleep 0.1
done

# debug COMMAND...: what gdb prints, in $dir/out.
debug()
{
    local args=()
    for c in "$@"; do
        args+=(-ex "$c")
    done
    timeout 60 gdb -nx -q -batch -ex 'set confirm off' \
        -ex 'set architecture i386:x86-64' -ex "target remote $dir/gdb" \
        "${args[@]}" </dev/null >"$dir/out" 2>&1
}

debug 'info threads' "break *$do_sys_openat2" 'continue' 'p/x $rip' \
    'p ($cs & 3)' 'stepi' 'stepi' 'stepi' "p (\$rip - $do_sys_openat2) < 32" \
    'x/2i $rip' 'continue' 'p/x $rip' 'delete' 'detach'
expect "all CPUs are there" "^  $cpus +Thread|^\* $cpus +Thread"
expect "a breakpoint in the kernel is met" \
    "Breakpoint 1, $(printf '0x%016x' "$do_sys_openat2")" \
    "^\\\$1 = $do_sys_openat2\$" '^\$2 = 0$'
expect "steps go on from there" '^\$3 = 1$'
expect "and it is met again" "^\\\$4 = $do_sys_openat2\$"

debug "hbreak *$__schedule" 'continue' 'p/x $rip' 'delete' \
    'p/x $cr0 & 0x80000001' 'x/s *(char **)($rsp)' 'p $efer & 0x500' 'detach'
expect "a hardware breakpoint is met" "^\\\$1 = $__schedule\$"
expect "system registers are seen" '^\$2 = 0x80000001$'

# Until one with an argument in user space: the file name of open().
debug "break *$do_sys_openat2" 'continue' 'x/s $rsi' 'delete' 'detach'
expect "user memory is seen" '"/(proc|etc|lib|dev|tmp|sys)'

# Steps through code that interrupts may hit: RIP moves all the time, but for
# an instruction that repeats or jumps to itself.
cat >"$dir/steps" <<'END'
set $n = 0
set $same = 0
while $n < 200
  set $old = $rip
  stepi
  if $rip == $old
    set $same = $same + 1
  end
  set $n = $n + 1
end
printf "stepped %d, most of them on: %d\n", $n, $same < 150
END
debug "source $dir/steps" 'detach'
expect "200 steps anywhere" '^stepped 200, most of them on: 1$'

sleep 0.5
debug 'info registers rip' 'kill'
status=0
wait "$vm" || status=$?
vm=
if [ "$status" -eq 0 ] && ! grep -qE 'BUG|Oops|panic' "$dir/console"; then
    passed=$((passed + 1))
else
    echo "gdb_linux.sh: kill: FAILED (status $status)"
    tail -n 5 "$dir/console"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
