#!/bin/bash
# A VM that runs from its file: what its settings say, who holds it, what can
# be done to it meanwhile, copies, and what is left after a kill. HUSK names the
# binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh
# shellcheck source=tests/func/lib/bare.sh
. tests/func/lib/bare.sh

show()
{
    tail -n 3 "$dir/err" 2>/dev/null
}

h()
{
    timeout 60 "$husk" "$@" </dev/null >"$dir/out" 2>"$dir/err"
}

stop='\xfa\xf4\xeb\xfc'                                  # cli; hlt; jmp
bare off "\x66\xba\x04\x06\x66\xb8\x00\x34\x66\xef$stop" # S5 to PM1 control
bare idle "\x66\xba\xf8\x03\xb0\x41\xee$stop"            # 'A' to COM1, for ever

# start VM OPTION...: run it in the background until it has said something.
start()
{
    rm -f "$dir/serial"
    "$husk" run "$@" -s "$dir/serial" </dev/null >"$dir/run.out" 2>"$dir/run.err" &
    pid=$!
    pids+=($pid)
    for ((i = 0; i < 400; i++)); do
        [ -s "$dir/serial" ] && return
        kill -0 $pid 2>/dev/null || break
        sleep 0.05
    done
    echo "vm_run.sh: $1 did not start"
    cat "$dir/run.err"
}

# --- Settings -------------------------------------------------------------------

h create web -d 64M -m 16M -c 2 -k "$dir/off"
check 'create' 0 $?
h run web
check 'a VM runs by its settings' 0 $?
check 'nothing is wrong' '' "$(cat "$dir/err")"
h run web -k "$dir/none"
check 'options go over settings' 2 $?
h create bare -d 64M --firmware none
h run bare
check 'nothing to boot' 2 $?
check 'it says so' 1 "$(grep -c 'boot disk .* directly: it has no' "$dir/err")"
h set bare boot.firmware=bios
check 'firmware for the disk' bios "$("$husk" get bare boot.firmware)"
h set bare boot.firmware=coreboot
check 'one that there is' 2 $?
h run none
check 'no such VM' 3 $?

# --- Who holds it -----------------------------------------------------------------

h set web "boot.kernel=$dir/idle"
start web
check 'its state' running "$("$husk" list web -o jsonl | sed 's/.*"state": *"//; s/".*//')"
check 'its process, from two sides' 2 "$("$husk" info web --json | grep -c "\"pid\": $pid")"
check 'what the machine says' 1 "$("$husk" info web | grep -c '^machine  *running')"
h run web
check 'it does not run twice' 5 $?
check 'the error names the process' 1 "$(grep -c "process $pid of this host" "$dir/err")"
h check web
check 'no check meanwhile' 5 $?
h delete web
check 'nor can it be deleted' 5 $?
h restore web@none
check 'nor restored' 5 $?
h snapshots web
check 'its snapshots can be listed' 0 $?
if command -v qemu-img >/dev/null; then
    qemu-img resize -q "$HUSK_HOME/web.husk" +1G 2>"$dir/err"
    check 'qemu-img resize refuses' 1 $?
    qemu-img check -q "$HUSK_HOME/web.husk" >"$dir/err" 2>&1
    check 'so does its check' 1 $?
    qemu-img info -U "$HUSK_HOME/web.husk" >"$dir/err" 2>&1
    check 'its info -U does not' 0 $?
fi

# --- What can be done meanwhile -----------------------------------------------------

h set web cpus=1 labels.a=b
check 'settings change' 0 $?
check 'they are there' b "$("$husk" get web labels.a)"
h set web disk=+64M
check 'the disk grows' 0 $?
check 'it is larger' 134217728 "$("$husk" get web disk)"
h set web disk=64M
check 'it does not shrink' 2 $?
h snapshot web live -m 'while it runs'
check 'a snapshot' 0 $?
check 'its name is chosen' snap1 "$("$husk" snapshot web -q)"
check 'they are there' 'live snap1 ' "$("$husk" snapshots web -o name | tr '\n' ' ')"
h snapshot web live
check 'the same name again' 4 $?
h export web -f raw -o "$dir/live.img"
check 'it is exported while it runs' 0 $?
check 'all of the disk' 134217728 "$(stat -c %s "$dir/live.img")"
check 'nothing is left of that' 'live snap1 ' \
    "$("$husk" snapshots web -o name | tr '\n' ' ')"
if command -v qemu-img >/dev/null; then
    check 'nor in the file' 2 \
        "$(qemu-img snapshot -U -l "$HUSK_HOME/web.husk" | grep -c ' 0 B ')"
fi
h export web@live -f raw -o "$dir/snap.img"
check 'so is a snapshot' 0 $?
h export web@none -o "$dir/none.img"
check 'of those that there are' 3 $?
h delete web@snap1
check 'a snapshot is deleted while it runs' 0 $?
check 'and gone' 'live ' "$("$husk" snapshots web -o name | tr '\n' ' ')"
h delete web@snap1
check 'once' 3 $?
h rename web site
check 'it gets another name' 0 $?
check 'and still runs' running \
    "$("$husk" list site -o jsonl | sed 's/.*"state": *"//; s/".*//')"
h snapshot site under-another-name
check 'it is found by that' 0 $?
kill $pid
wait $pid
check 'ended by a signal' 143 $?
check 'its state then' stopped \
    "$("$husk" list site -o jsonl | sed 's/.*"state": *"//; s/".*//')"
check 'no socket is left' '' "$(find "$HUSK_HOME" -type s)"
h check site
check 'its file is sound' 0 $?
h restore site@live --no-save
check 'what was kept while it ran comes back' 0 $?
check 'with the size of then' 134217728 "$("$husk" get site disk)"
check 'and the settings' b "$("$husk" get site labels.a)"

# --- A kill --------------------------------------------------------------------------

start site
kill -9 $pid
wait $pid 2>/dev/null
check 'a killed VM is stopped' stopped \
    "$("$husk" list site -o jsonl | sed 's/.*"state": *"//; s/".*//')"
start site
check 'and starts again' running \
    "$("$husk" list site -o jsonl | sed 's/.*"state": *"//; s/".*//')"
kill $pid
wait $pid
h check site
check 'its file is still sound' 0 $?

# --- Copies ----------------------------------------------------------------------------

h set site "boot.kernel=$dir/off"
was=$("$husk" get site uuid)
mac=$("$husk" get site mac)
mv "$HUSK_HOME/site.husk" "$HUSK_HOME/moved.husk"
h run moved
check 'a moved VM runs' 0 $?
check 'as itself' "$was" "$("$husk" get moved uuid)"
cp "$HUSK_HOME/moved.husk" "$HUSK_HOME/copy.husk"
check 'a copy is the same' "$was" "$("$husk" get copy uuid)"
cp "$HUSK_HOME/moved.husk" "$dir/twin.husk"
h run copy
check 'until it runs' 0 $?
check 'it says so' 1 "$(grep -c 'new identity' "$dir/err")"
copy=$("$husk" get copy uuid)
check 'it is another then' no "$([ "$copy" = "$was" ] && echo yes || echo no)"
check 'with another address' no \
    "$([ "$("$husk" get copy mac)" = "$mac" ] && echo yes || echo no)"
h run copy
check 'once' '' "$(cat "$dir/err")"
check 'and stays it' "$copy" "$("$husk" get copy uuid)"
h run "$dir/twin.husk" --keep-identity
check 'unless it shall not' 0 $?
check 'be itself' "$was" "$("$husk" get "$dir/twin.husk" uuid)"
h run "$dir/twin.husk"
check 'from then on' "$was" "$("$husk" get "$dir/twin.husk" uuid)"

# --- From elsewhere ---------------------------------------------------------------------

truncate -s 1M "$dir/ours.img"
h create theirs -d 64M -d "$dir/ours.img,format=raw,serial=ours" -k "$dir/off" -m 16M
check 'a VM with a file of ours' 0 $?
h run theirs
check 'which we gave it' 0 $?
cp "$HUSK_HOME/theirs.husk" "$HUSK_HOME/sent.husk"
h run sent
check 'one from elsewhere does not get it' 7 $?
check 'it says which' 1 "$(grep -c "names the disk '$dir/ours.img'" "$dir/err")"
h snapshot sent
check 'nor by another verb' 7 $?
h info sent
check 'it can be looked at' 0 $?
h run sent --yes
check 'unless we agree' 0 $?
h run sent
check 'from then on' 0 $?
h set sent "boot.initrd=$dir/off" disks=
cp "$HUSK_HOME/sent.husk" "$HUSK_HOME/again.husk"
h run again
check 'nor a RAM disk' 7 $?
h set sent "serial=$dir/file"
check 'output goes to no file' 2 $?
h set sent 'disks=a.img,format=what'
check 'a disk is checked' 2 $?
h set sent 'disks=ours.qcow2,ro;b.img,format=raw'
check 'several disks' 'ours.qcow2,ro;b.img,format=raw' "$("$husk" get sent disks)"

# --- Starts at once --------------------------------------------------------------------

h set copy "boot.kernel=$dir/idle"
for ((round = 0; round < 10; round++)); do
    "$husk" run copy -s none </dev/null >/dev/null 2>"$dir/a" &
    a=$!
    "$husk" run copy -s none </dev/null >/dev/null 2>"$dir/b" &
    b=$!
    pids+=($a $b)
    wait -n $a $b
    # One is refused and ends; the other runs on.
    first=$?
    alive=0
    for p in $a $b; do
        kill -0 $p 2>/dev/null && alive=$((alive + 1)) && kill $p
    done
    wait $a $b
    [ "$first" = 5 ] && [ $alive = 1 ] || {
        check "two starts at once, round $round" '5 1' "$first $alive"
        break
    }
done
check 'of two starts at once one is refused' 10 $round

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
