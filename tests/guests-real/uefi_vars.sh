#!/bin/bash
# UEFI's variables in a VM's file, with Debian as the guest: a boot entry that
# efibootmgr makes outlives a power-off, a reboot and a kill, travels with a copy
# of the file, and goes back with a snapshot. The disk is that of make_disk.sh;
# HUSK names the binary, DISK another disk.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
disk=${DISK:-build/guests-real/disk.img}
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
export HUSK_HOME=$dir/home
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$dir"' EXIT

show()
{
    tail -n 5 "$dir/log" "$dir/err" 2>/dev/null
}

# until TEXT: it has come since the last such wait.
until_text()
{
    local i
    for ((i = 0; i < 3000; i++)); do
        if tail -c "+$from" "$dir/log" 2>/dev/null | grep -aq "$1"; then
            from=$(($(stat -c %s "$dir/log") + 1))
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# boot VM: to root's prompt.
boot()
{
    rm -f "$dir/in" "$dir/log"
    mkfifo "$dir/in"
    from=1
    "$husk" run --firmware uefi "$1" <"$dir/in" >"$dir/log" 2>"$dir/err" &
    pid=$!
    exec 3>"$dir/in"
    login
}

login()
{
    until_text 'login:' && echo root >&3 && until_text '# ' &&
        echo "PS1='%'; stty -echo" >&3 && sleep 1
}

# in_guest COMMAND: what it prints. Each has marks of its own: it may be called
# in a subshell, which forgets what it has read.
in_guest()
{
    local tag=$RANDOM$RANDOM
    echo "echo begin$tag; $1; echo end$tag" >&3
    until_text "^end$tag" || return
    tr -d '\r' <"$dir/log" | sed -n "/begin$tag\$/,/^end$tag/p" | sed '1d;$d'
}

off()
{
    echo poweroff >&3
    if ! until_text 'reboot: Power down'; then
        kill -9 $pid # it would stay for ever
    fi
    wait $pid
    check "$1" 0 $?
    exec 3>&-
    pid=
}

entries() # how many entries of that name
{
    in_guest efibootmgr | grep -ac "$1"
}

# It names a file that there is: OVMF drops others when it sorts the entries.
make_entry() # NAME
{
    in_guest "efibootmgr -q -c -d /dev/vda -p 2 -L $1 \
-l '\\EFI\\BOOT\\BOOTX64.EFI'; echo made \$?" | grep -a '^made'
}

[ -e "$disk" ] || {
    echo "uefi_vars.sh: no $disk: make_disk.sh makes it"
    exit 77
}
"$husk" import "$disk" deb -m 1G --firmware uefi -q || exit 1
boot deb
check 'Debian has been started by UEFI' 1 \
    "$(in_guest 'ls -d /sys/firmware/efi' | grep -c efi)"
check 'ACPI is on' 1 \
    "$(in_guest 'dmesg | grep -c "ACPI: Interpreter enabled"' | grep -a '^[0-9]')"
check 'and nothing is wrong with it' 0 \
    "$(in_guest 'dmesg | grep -cE "AcpiEnable failed|ACPI.*Error"' | grep -a '^[0-9]')"
check 'efibootmgr makes an entry' 'made 0' "$(make_entry alpha)"
check 'it is there' 1 "$(entries alpha)"
from=$(($(stat -c %s "$dir/log") + 1))
echo reboot >&3
login
check 'it outlives a reboot' 1 "$(entries alpha)"
check 'and starts the system' 1 \
    "$(grep -ac 'BdsDxe: starting Boot[0-9A-F]* "alpha"' "$dir/log")"
off 'a stop'
boot deb
check 'it outlives a stop' 1 "$(entries alpha)"
"$husk" snapshot deb one -q
check 'a snapshot while it runs' 0 $?
check 'another one' 'made 0' "$(make_entry beta)"
check 'is there' 1 "$(entries beta)"
sleep 1
kill -9 $pid
wait $pid 2>/dev/null
exec 3>&-
boot deb
check 'which outlives a kill' 1 "$(entries beta)"
check 'and so does the first' 1 "$(entries alpha)"
off 'a stop'
cp "$HUSK_HOME/deb.husk" "$HUSK_HOME/copy.husk"
boot copy
check 'a copy of the file has both' 1,1 "$(entries alpha),$(entries beta)"
off 'a stop of the copy'
"$husk" restore deb@one -q
check 'a restore' 0 $?
boot deb
check 'the snapshot had the first only' 1,0 "$(entries alpha),$(entries beta)"
off 'a stop after the restore'
qemu-img check -q "$HUSK_HOME/deb.husk"
check 'the image is sound' 0 $?
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
