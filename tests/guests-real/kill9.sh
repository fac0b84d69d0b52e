#!/bin/bash
# Kill husk in the middle of writing, again and again, on one and the same disk.
# The guest appends numbers to a file and says each aloud when it is synced,
# while other processes write and delete as much as they can. After each kill:
# every number that was said is there, fsck -f finds nothing to repair but the
# journal, and the image is sound.
#
# usage: tests/guests-real/kill9.sh [--times N] [--format qcow2|raw]
#                                   [--cache none|writeback] [--seed N]
#
# Default: 200 times, qcow2, writeback.
# HUSK names the binary. Needs qemu-utils and e2fsprogs; no root.
set -euo pipefail
cd "$(dirname "$0")/../.."
husk=$(realpath "${HUSK:-build/release/husk}")
times=200 format=qcow2 cache=writeback seed=$$
while [ $# -gt 0 ]; do
    case $1 in
    --times) times=$2 && shift ;;
    --format) format=$2 && shift ;;
    --cache) cache=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    *)
        echo "kill9.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
RANDOM=$seed
tools/make-guest --disk
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# --- The guest ---------------------------------------------------------------------

root=$dir/tree
mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,etc,mnt,load}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/bin:/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -o remount,rw,discard /
load()
{
    while :; do
        dd if=/dev/urandom of=/load/$1 bs=4k count=$((64 + $1 * 700)) 2>/dev/null
        [ $(($1 % 2)) = 0 ] && sync
        rm -f /load/$1.old; mv /load/$1 /load/$1.old
    done
}
load 0 & load 1 & load 2 &
n=$(tail -n 1 /markers 2>/dev/null)
n=${n:-0}
echo "begins at $n"
while :; do
    n=$((n + 1))
    echo $n >>/markers
    sync -d /markers || sync /markers || sync
    echo "marker $n"
done
END
chmod 755 "$root/sbin/init"
mkfs.ext4 -q -d "$root" "$dir/disk.raw" 256M >/dev/null
disk=$dir/disk.$format
[ "$format" = raw ] || qemu-img convert -O "$format" "$dir/disk.raw" "$disk"

# --- One kill ------------------------------------------------------------------------

fail()
{
    echo "kill9.sh: kill $kill (seed $seed): $*"
    tail -n 5 "$dir/console" "$dir/err" "$dir/log" 2>/dev/null | sed 's/^/    /'
    cp "$disk" "${TMPDIR:-/var/tmp}/kill9-failed.$format"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

said()
{
    tr -d '\r' <"$dir/console" | sed -n "s/^$1 \([0-9]*\)$/\1/p" | tail -n 1
}

begin()
{
    rm -f "$dir/console"
    "$husk" run -k build/guest/vmlinuz -i build/guest/disk.gz -m 256M -c 2 \
        --disk "$disk,format=$format,cache=$cache" -s "$dir/console" \
        -a 'console=ttyS0 quiet husk.root=/dev/vda' </dev/null 2>"$dir/err" &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        grep -qa '^marker' "$dir/console" 2>/dev/null && return
        kill -0 "$pid" 2>/dev/null || fail 'the machine ended by itself'
        sleep 0.05
    done
    fail 'the guest writes nothing'
}

# The last marker that is in the file system, its journal replayed.
check_files()
{
    cp --sparse=always "$1" "$dir/copy"
    # 1: the journal was replayed, or what an unlinked open file left
    e2fsck -fp "$dir/copy" >"$dir/log" 2>&1 || [ $? -eq 1 ] ||
        fail 'the file system needs more than its journal'
    e2fsck -fn "$dir/copy" >"$dir/log" 2>&1 || fail 'the file system is broken'
    debugfs -R 'cat /markers' "$dir/copy" >"$dir/markers" 2>/dev/null
    there=$(tail -n 1 "$dir/markers")
    cmp -s "$dir/markers" <(seq 1 "${there:-0}") || fail 'numbers are missing'
}

total=0 before=0
for ((kill = 1; kill <= times; kill++)); do
    begin
    first=$(said 'begins at')
    sleep "$((RANDOM % 2)).$((RANDOM % 1000 + 1000))"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    last=$(said marker)
    flat=$disk
    if [ "$format" != raw ]; then
        # As it was left: only leaks are allowed.
        status=0
        qemu-img check -q "$disk" >"$dir/log" 2>&1 || status=$?
        [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || fail 'the image is damaged'
        qemu-img convert -O raw "$disk" "$dir/flat"
        flat=$dir/flat
    fi
    check_files "$flat"
    [ "${there:-0}" -ge "${last:-0}" ] ||
        fail "marker $last was synced, and ${there:-none} is the last there"
    [ "${first:-0}" -ge "${before:-0}" ] ||
        fail "began at $first after $before was synced"
    before=$last
    total=$((total + last - first))
    [ $((kill % 10)) -ne 0 ] || echo "kill9.sh: $kill kills, $total markers so far"
done
if [ "$format" != raw ]; then
    # A machine that opens and closes it takes the leaks back.
    begin
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    qemu-img check "$disk" >"$dir/log" 2>&1 || fail 'the image is not clean'
fi
echo "kill9.sh: $format, cache=$cache: $times kills, $total markers, none lost"
echo "$times passed, 0 failed, 0 skipped"
