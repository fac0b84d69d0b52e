#!/bin/bash
# Disks as Linux sees them: an ext4 root on raw and qcow2 files, what was
# written is there afterwards, discards reach the host, a disk grows while the
# guest looks, a full host stops the guest until there is space, and files that
# change under the machine are noticed. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    tail -n 5 "$dir/console" "$dir/err" 2>/dev/null
}

summary()
{
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

for tool in mkfs.ext4 e2fsck debugfs perl; do
    command -v $tool >/dev/null && continue
    skip all "there is no $tool"
    summary
done
tools/make-guest --disk || {
    skip all 'there is no guest'
    summary
}

# --- The guest -----------------------------------------------------------------

# Its system is a busybox whose init does what is on the disk with the serial
# number "script".
root=$dir/tree
mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,etc,mnt}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/bin:/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -o remount,rw /
mount -t tmpfs tmp /tmp
for disk in /sys/block/vd*; do
    [ "$(cat $disk/serial)" = script ] && tr -d '\0' <"/dev/${disk##*/}" >/tmp/script
done
sh /tmp/script
echo "husk-test: status $?"
dmesg -r | grep -E '^<[0-3]>'
mount -o remount,ro /
poweroff -f
END
chmod 755 "$root/sbin/init"
mkfs.ext4 -q -d "$root" "$dir/root.raw" 64M >/dev/null

# run SCRIPT ARGUMENT...: the guest's root is the first --disk; its console in
# $dir/console, husk's words in $dir/err.
run()
{
    rm -f "$dir/console" "$dir/err"
    printf '%s\n' "$1" >"$dir/script"
    truncate -s 4K "$dir/script"
    shift
    timeout 120 "$husk" run -k build/guest/vmlinuz -i build/guest/disk.gz \
        -s "$dir/console" -a 'console=ttyS0 quiet husk.root=/dev/vda' "$@" \
        --disk "$dir/script,ro,serial=script" 2>"$dir/err"
}

said() # WORD: what followed it on the console, the last time
{
    tr -d '\r' <"$dir/console" | sed -n "s/^$1 //p" | tail -n 1
}

good()
{
    check "$1: status" 0 "$2"
    check "$1: the guest's test" 0 "$(said 'husk-test: status')"
    check "$1: the kernel complains" '' "$(grep -aE '^<[0-3]>' "$dir/console")"
}

# control JSON: the answer of the machine at $dir/ctl.
control()
{
    perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 1;
        print $s "$ARGV[1]\n"; print scalar <$s>' "$dir/ctl" "$1"
}

# await FILE PATTERN: until it is there (a minute at most: then the next check
# says what is missing).
await()
{
    local i
    for ((i = 0; i < 600; i++)); do
        grep -qaE "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
}

# begin COMMAND ARGUMENT...: run in the background, with a control socket.
begin()
{
    rm -f "$dir/console" "$dir/err" # what the last one said is no sign of life
    run "$@" --control "unix:$dir/ctl" &
    pids=($!)
}

# --- A root on each format -------------------------------------------------------

# on_root NAME FILE OPTIONS: writes, reads back, starts again; then the file is a
# clean file system with the same bytes.
on_root()
{
    local name=$1 file=$2 sum
    run 'dd if=/dev/urandom of=/data bs=64k count=128 2>/dev/null; sync
        echo 3 >/proc/sys/vm/drop_caches
        echo sum $(md5sum </data)' --disk "$file$3" -c 2
    good "$name" $?
    sum=$(said sum)
    check "$name: there is a sum" 34 ${#sum}
    run 'echo sum $(md5sum </data)' --disk "$file$3" -c 1
    good "$name, again" $?
    check "$name: the same bytes later" "$sum" "$(said sum)"
    if [ "${file##*.}" = qcow2 ]; then
        qemu-img check -q "$file" >"$dir/err" 2>&1
        check "$name: qemu-img check" 0 $?
        qemu-img convert -O raw "$file" "$dir/flat.raw"
        file=$dir/flat.raw
    fi
    e2fsck -fn "$file" >"$dir/err" 2>&1
    check "$name: the file system is clean" 0 $?
    check "$name: the same bytes on the host" "$sum" \
        "$(echo $(debugfs -R 'cat /data' "$file" 2>/dev/null | md5sum))"
    rm -f "$dir/flat.raw"
}

cp --sparse=always "$dir/root.raw" "$dir/a.raw"
on_root raw "$dir/a.raw" ''
on_root 'raw, cache=none' "$dir/a.raw" ',cache=none'
if command -v qemu-img >/dev/null; then
    qemu-img convert -O qcow2 "$dir/root.raw" "$dir/a.qcow2"
    on_root qcow2 "$dir/a.qcow2" ''
    on_root 'qcow2, cache=none' "$dir/a.qcow2" ',cache=none'
else
    skip qcow2 'there is no qemu-img'
fi

# --- What the guest sees of a disk ------------------------------------------------

truncate -s 48M "$dir/b.raw"
run '[ -e /been ] || { touch /been; sync; reboot -f; }
    echo serial $(cat /sys/block/vdb/serial)
    echo ro $(cat /sys/block/vdb/ro) $(cat /sys/block/vdc/ro)
    echo size $(cat /sys/block/vdd/size)
    dd if=/dev/zero of=/dev/vdb bs=4k count=1 2>/dev/null || echo write refused' \
    --disk "$dir/a.raw" --disk "$dir/b.raw,ro,serial=my disk" --disk 32M \
    --disk 16M
good 'several disks' $?
check 'a reset on the way' 1 \
    "$(debugfs -R 'ls -p /' "$dir/a.raw" 2>/dev/null | grep -c /been/)"
check 'the serial number' 'my disk' "$(said serial)"
check 'read-only' '1 0' "$(said ro)"
check 'a throw-away disk' 32768 "$(said size)"
check 'a write to a read-only disk' refused "$(said write)"

# --- Discard ----------------------------------------------------------------------

dd if=/dev/urandom of="$dir/b.raw" bs=1M count=48 status=none
before=$(du -k "$dir/b.raw" | cut -f 1)
run 'blkdiscard -o 1048576 /dev/vdb
    head -c 1048576 /dev/vdb | md5sum | sed "s/^/kept /"
    tail -c +1048577 /dev/vdb | tr -d "\0" | wc -c | sed "s/^/left /"' \
    --disk "$dir/a.raw" --disk "$dir/b.raw"
good 'discard' $?
after=$(du -k "$dir/b.raw" | cut -f 1)
check "discards reach the host ($before KiB, then $after)" yes \
    "$([ "$after" -lt $((before / 10)) ] && echo yes)"
check 'what is discarded is gone' 0 "$(said left)"
check 'the rest is not' "$(head -c 1048576 "$dir/b.raw" | md5sum)" "$(said kept)"

# --- Growth -----------------------------------------------------------------------

truncate -s 48M "$dir/b.raw"
begin 'echo ready
    n=0
    until [ $(cat /sys/block/vdb/size) = 196608 ]; do
        sleep 0.1; n=$((n + 1)); [ $n -lt 300 ] || break
    done
    echo now $(cat /sys/block/vdb/size)
    echo tail >/tmp/t
    dd if=/tmp/t of=/dev/vdb bs=512 seek=196607 conv=sync,fsync 2>/dev/null' \
    --disk "$dir/a.raw" --disk "$dir/b.raw"
await "$dir/console" '^ready'
check 'the machine answers' '{"id": 5, "result": {}}' \
    "$(control '{"do": "ping", "id": 5}' | sed 's/:/: /g; s/,/, /g')"
check 'a disk does not shrink' 1 \
    "$(control '{"do": "disk-resize", "disk": 1, "size": 512}' | grep -c EINVAL)"
check 'a disk that is not there' 1 \
    "$(control '{"do": "disk-resize", "disk": 9, "size": 512}' | grep -c ENOENT)"
check 'a disk grows' '{"result":{}}' \
    "$(control '{"do": "disk-resize", "disk": 1, "size": 100663296}')"
wait "${pids[0]}"
good growth $?
check 'the guest sees it' 196608 "$(said now)"
check 'and writes there' tail \
    "$(tail -c 512 "$dir/b.raw" | tr -d '\0')"

# --- Pausing ----------------------------------------------------------------------

begin 'echo ready; sleep 1; echo woken' --disk "$dir/a.raw"
await "$dir/console" '^ready'
state() { control '{"do": "status"}' | sed -n 's/.*"state":"\([a-z-]*\)".*/\1/p'; }
check 'it runs' running "$(state)"
control '{"do": "pause"}' >"$dir/err"
check 'it is paused' paused "$(state)"
control '{"do": "resume"}' >"$dir/err"
wait "${pids[0]}"
good pause $?
begin 'echo ready; sleep 1000' --disk "$dir/a.raw"
await "$dir/console" '^ready'
check 'it is locked' 2 "$(timeout 20 "$husk" run -k build/guest/vmlinuz \
    --disk "$dir/a.raw" </dev/null >"$dir/second" 2>&1; echo $?)"
check 'a snapshot needs a VM file' 1 \
    "$(control '{"do": "disk-snapshot"}' | grep -c "VM's file")"
check 'quit' '{"result":{}}' "$(control '{"do": "quit"}')"
wait "${pids[0]}"
check 'quit ends it' 0 $?
check 'the socket is gone' no "$([ -e "$dir/ctl" ] || echo no)"

# --- Files that change under the machine --------------------------------------------

truncate -s 48M "$dir/b.raw" "$dir/c.raw"
begin 'echo ready; sleep 1000' --disk "$dir/a.raw" --disk "$dir/b.raw" \
    --disk "$dir/c.raw"
await "$dir/console" '^ready'
truncate -s 1M "$dir/b.raw"
truncate -s 48M "$dir/d.raw" && mv "$dir/d.raw" "$dir/c.raw"
problems=$(control '{"do": "status"}')
check 'a file that is cut' 1 "$(grep -c 'was cut' <<<"$problems")"
check 'a file that is replaced' 1 "$(grep -cE 'was (replaced|deleted)' \
    <<<"$problems")"
check 'both are said' 2 "$(grep -cE 'was (cut|replaced|deleted)' "$dir/err")"
control '{"do": "quit"}' >"$dir/second"
wait "${pids[0]}"

# --- A full host --------------------------------------------------------------------

# In a mount name space of its own: 24 MiB for a disk of 48, then more.
full()
{
    mount -t tmpfs -o size=24M full "$dir/full" || return
    truncate -s 48M "$dir/full/d.raw"
    begin 'yes husk | dd of=/dev/vdb bs=64k count=640 iflag=fullblock \
            conv=fsync 2>/dev/null
        echo written so far
        echo 3 >/proc/sys/vm/drop_caches
        echo sum $(dd if=/dev/vdb bs=64k count=640 2>/dev/null | md5sum)' \
        --disk "$dir/a.raw" --disk "$dir/full/d.raw"
    await "$dir/err" 'no space left'
    check 'a full host: it is said' 1 "$(grep -c 'no space left' "$dir/err")"
    check 'a full host: the guest waits' no-space "$(state)"
    check 'a full host: nothing is written' '' "$(said written)"
    mount -o remount,size=64M full "$dir/full"
    control '{"do": "resume"}' >"$dir/second"
    wait "${pids[0]}"
    good 'a full host' $?
    check 'a full host: nothing is lost' \
        "$(echo $(yes husk | head -c $((640 << 16)) | md5sum))" "$(said sum)"
    umount "$dir/full"
}
mkdir "$dir/full"
if [ "$(id -u)" = 0 ] && mount -t tmpfs full "$dir/full" 2>/dev/null; then
    umount "$dir/full"
    full
else
    skip 'a full host' 'mount needs root'
fi
summary
