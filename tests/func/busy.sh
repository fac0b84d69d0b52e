#!/bin/bash
# A guest that never stops is stopped from outside: whatever loop it is in, a
# signal ends husk. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
passed=0 failed=0

word()
{
    printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 16 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 24 & 255)))"
}

# loop NAME CODE: a Multiboot guest (as in run_ends.sh, entry 0x100020, with
# memory behind it for a stack) that says 'A' on COM1, then loops in CODE, which
# begins at 0x10002c. It is to end by SIGTERM.
loop()
{
    local name=$1 status
    {
        word 0x1badb002
        word 0x00010000
        word $((-0x1badb002 - 0x00010000))
        word 0x100000
        word 0x100000
        word 0
        word 0x180000
        word 0x100020
        printf '\xbc\x00\x80\x17\x00'         # mov esp, 0x178000
        printf '\x66\xba\xf8\x03\xb0\x41\xee' # mov dx, 0x3f8; mov al, 'A'; out
        printf "$2"
    } >"$dir/guest"
    rm -f "$dir/log"
    "$husk" run -k "$dir/guest" -m 16 -s "$dir/log" </dev/null 2>"$dir/err" &
    pid=$!
    for ((i = 0; i < 400; i++)); do
        [ -s "$dir/log" ] && break
        sleep 0.05
    done
    sleep 0.2 # into the loop, and through its first rounds
    kill -TERM $pid
    for ((i = 0; i < 400; i++)); do
        kill -0 $pid 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL $pid 2>/dev/null # one that does not listen
    wait $pid 2>/dev/null
    status=$?
    pid=
    if [ "$status" -eq 143 ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "busy.sh: $name: FAILED: status $status, not 143"
    sed 's/^/    /' "$dir/err" | head -n 5
}

loop 'jump to itself' '\xeb\xfe'
loop 'call and return' '\xe8\x02\0\0\0\xeb\xf9\xc3'
loop 'jump through a register' '\xb8\x31\0\x10\0\xff\xe0'
loop 'jump through memory' '\xc7\x04\x24\x33\0\x10\0\xff\x24\x24'
loop 'two jumps through registers' \
    '\xb8\x38\0\x10\0\xbb\x36\0\x10\0\xff\xe0\xff\xe3'
loop 'returns only' '\x68\x2c\0\x10\0\xc3'
loop 'calls only' '\xbc\0\x80\x17\0\xe8\xf6\xff\xff\xff'
loop 'loop instruction' '\xb9\xff\xff\xff\x7f\xe2\xfe\xeb\xf7'
loop 'string instruction' \
    '\xfc\xb9\0\0\x10\0\xbe\0\0\x20\0\xbf\0\0\x60\0\xf3\xa4\xeb\xed'
loop 'port reads' '\xec\xeb\xfd'
loop 'across a page' '\xe9\xcf\x0f\0\0'"$(printf '\\x90%.0s' {1..4047})"'\xe9\xd4\xef\xff\xff'
loop 'halted for ever' '\xfa\xf4\xeb\xfd'
loop 'changing its own code' '\xc6\x05\x34\0\x10\0\x90\x90\xeb\xf6'

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
