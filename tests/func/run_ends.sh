#!/bin/bash
# How a run ends, and what is left then: statuses of power-off, resets,
# signals and the debug port; consoles in files and on sockets. HUSK names the
# binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh
# shellcheck source=tests/func/lib/bare.sh
. tests/func/lib/bare.sh

show()
{
    head -n 5 "$dir/err" 2>/dev/null
}

stop='\xfa\xf4\xeb\xfc'                      # cli; hlt; jmp
say='\x66\xba\xf8\x03\xb0\x41\xee'           # 'A' to COM1
bare exit5 "\xb0\x05\xe6\xf4$stop"           # 5 to port 0xf4
bare exit255 "\xb0\xff\xe6\xf4$stop"
bare off "\x66\xba\x04\x06\x66\xb8\x00\x34\x66\xef$stop" # S5 to PM1 control
bare kbd "$say\xb0\xfe\xe6\x64$stop"         # reset line of the keyboard
bare cf9 "$say\x66\xba\xf9\x0c\xb0\x06\xee$stop"
bare triple "$say\x0f\x01\x1d\x40\x00\x10\x00\xcc$stop" # lidt of zeroes; int3
bare idle "$say$stop"
# The first time (a byte of CMOS memory is 0) set it and reset, then power off.
bare again "$say\xb0\x50\xe6\x70\xe4\x71\x3c\x01\x74\x0e\xb0\x50\xe6\x70\xb0\x01\xe6\x71\xb0\xfe\xe6\x64\xeb\xfe\x66\xba\x04\x06\x66\xb8\x00\x34\x66\xef$stop"

# run GUEST ARGUMENT...: its status; output in $dir/out and $dir/err.
run()
{
    local guest=$1
    shift
    timeout 20 "$husk" run -k "$dir/$guest" -m 16 "$@" </dev/null \
        >"$dir/out" 2>"$dir/err"
    echo $?
}

# --- Statuses -------------------------------------------------------------------

check 'power-off' 0 "$(run off)"
check 'debug port' 11 "$(run exit5 --debug-exit)"
check 'debug port, all ones' 255 "$(run exit255 --debug-exit)"
check 'keyboard reset with --no-reboot' 0 "$(run kbd --no-reboot)"
check 'port 0xcf9 with --no-reboot' 0 "$(run cf9 --no-reboot)"
check 'triple fault with --no-reboot' 12 "$(run triple --no-reboot)"
check 'it says so' 1 "$(grep -c 'triple fault' "$dir/err")"
check 'a reset starts the guest again' 0 "$(run again)"
check 'it ran twice' AA "$(cat "$dir/out")"
check 'CPUs in numbers' 0 "$(run off -c 8)"
check 'help' 0 "$("$husk" run --help >/dev/null; echo $?)"
check 'version' 0 "$("$husk" --version >/dev/null; echo $?)"

# A triple fault without --no-reboot goes on for ever.
timeout 2 "$husk" run -k "$dir/triple" -m 16 </dev/null >"$dir/out" 2>"$dir/err"
check 'triple faults restart' yes \
    "$([ "$(wc -c <"$dir/out")" -gt 1 ] && echo yes)"

# --- Signals ----------------------------------------------------------------------

for s in INT TERM HUP; do
    rm -f "$dir/log"
    # A job in the background of a script would ignore SIGINT.
    (trap - INT; exec "$husk" run -k "$dir/idle" -m 16 -s "$dir/log") \
        </dev/null 2>"$dir/err" &
    pid=$!
    for ((i = 0; i < 200; i++)); do
        [ -s "$dir/log" ] && break
        sleep 0.05
    done
    kill -s $s $pid
    wait $pid
    got=$?
    check "SIG$s" $((128 + $(kill -l $s))) $got
done

# --- Consoles ---------------------------------------------------------------------

check 'serial to a file' 0 "$(run off -s "$dir/log")"
check 'serial to a file: guest' 12 "$(run triple --no-reboot -s "$dir/log")"
check 'what is in the file' A "$(cat "$dir/log")"
check 'nothing on standard output' '' "$(cat "$dir/out")"
check 'no serial port' 12 "$(run triple --no-reboot -s none)"
check 'standard input closed' 0 \
    "$(timeout 20 "$husk" run -k "$dir/off" -m 16 <&- 2>"$dir/err"; echo $?)"
check 'all standard descriptors closed' 0 \
    "$(timeout 20 "$husk" run -k "$dir/off" -m 16 <&- >/dev/null 2>&-; echo $?)"
timeout 20 "$husk" run -k "$dir/kbd" -m 16 --no-reboot >&- 2>"$dir/err" </dev/null
check 'standard output closed' 0 $?
timeout 20 "$husk" run -k "$dir/triple" -m 16 --no-reboot -s /dev/full \
    </dev/null 2>"$dir/err" >/dev/null
check 'a full device' 12 $?
check 'it says so' 1 "$(grep -c 'No space left' "$dir/err")"
timeout 20 "$husk" run -k "$dir/triple" -m 16 --no-reboot </dev/null \
    2>"$dir/err" | true
check 'a reader that goes away' 12 "${PIPESTATUS[0]}"
check 'socket' 0 "$(run off -s "unix:$dir/sock")"
check 'socket is removed' no "$([ -e "$dir/sock" ] && echo yes || echo no)"
{
    timeout -s KILL 1 "$husk" run -k "$dir/idle" -m 16 -s "unix:$dir/sock" \
        </dev/null
} 2>/dev/null
check 'a killed run leaves its socket' yes \
    "$([ -S "$dir/sock" ] && echo yes || echo no)"
check 'a stale socket is replaced' 0 "$(run off -s "unix:$dir/sock")"
"$husk" run -k "$dir/idle" -m 16 -s "unix:$dir/sock" </dev/null 2>"$dir/err" &
pid=$!
for ((i = 0; i < 200; i++)); do
    [ -S "$dir/sock" ] && break
    sleep 0.05
done
check 'a live socket is not' 2 "$(run off -s "unix:$dir/sock")"
kill $pid
wait $pid
check 'nothing is left' '' "$(find "$dir" -type s)"

# --- Linux ------------------------------------------------------------------------

if tools/make-guest >/dev/null 2>&1; then
    for console in serial:ttyS0 console:hvc0; do
        args=(--append "console=${console#*:} quiet husk.test=\"echo in-\$((6*7))\"")
        [ ${console%%:*} = console ] && args+=(--serial none --console stdio)
        timeout 120 "$husk" run -k build/guest/vmlinuz -i build/guest/initrd.gz \
            "${args[@]}" </dev/null >"$dir/out" 2>"$dir/err"
        check "Linux powers off (${console#*:})" 0 $?
        check "Linux says something (${console#*:})" 1 \
            "$(tr -d '\r' <"$dir/out" | grep -c '^in-42$')"
    done
    # Typed faster than the UART's FIFO holds.
    mkfifo "$dir/keys"
    timeout 120 "$husk" run -k build/guest/vmlinuz -i build/guest/initrd.gz \
        --append 'console=ttyS0 quiet' <"$dir/keys" >"$dir/out" 2>"$dir/err" &
    pid=$!
    exec 3>"$dir/keys"
    for ((i = 0; i < 1000; i++)); do
        grep -q '^guest:' "$dir/out" && break
        sleep 0.1
    done
    printf 'echo %s\npoweroff\n' "$(seq -s+ 20)" >&3
    wait $pid
    check 'a shell reads its input' 0 $?
    exec 3>&-
    check 'all of it' 1 "$(tr -d '\r' <"$dir/out" | grep -c "^$(seq -s+ 20)\$")"
else
    skipped=$((skipped + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
