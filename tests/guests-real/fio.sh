#!/bin/bash
# fio in a guest, on husk and on QEMU's TCG beside it: the same kernel, system
# and image, one after the other in one run. Prints both and the ratio.
#
# usage: tests/guests-real/fio.sh [--formats LIST] [--caches LIST]
#                                 [--jobs LIST] [--seconds N] [--cpus N]
#                                 [--husk-only] [--keep DIR]
#
# LIST is words in quotes: raw qcow2; none writeback; randread1 randwrite1
# randread32 randwrite32 read1m write1m fsync. Each job runs for N seconds
# (default 4) after a second of warming up. host: what fio gets on the image's
# file system without a guest, for raw.
#
# Needs fio, qemu-system-x86, qemu-utils, e2fsprogs; no root. The guest's system
# is fio with its libraries in an ext4 image, made once.
set -euo pipefail
cd "$(dirname "$0")/../.."
husk=${HUSK:-build/release/husk}
formats="raw qcow2" caches="none writeback" seconds=4 cpus=1 qemu=1 keep=
jobs="randread1 randwrite1 randread32 randwrite32 read1m write1m fsync"
while [ $# -gt 0 ]; do
    case $1 in
    --formats) formats=$2 && shift ;;
    --caches) caches=$2 && shift ;;
    --jobs) jobs=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --husk-only) qemu= ;;
    --keep) keep=$2 && shift ;;
    *)
        echo "fio.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
for tool in fio mkfs.ext4 qemu-img; do
    command -v "$tool" >/dev/null || {
        echo "fio.sh: skipped: there is no $tool" >&2
        exit 77
    }
done
tools/make-guest --disk
out=build/guests-real
mkdir -p "$out"
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
[ -z "$keep" ] || mkdir -p "$keep"

# --- The guest's system ---------------------------------------------------------

system=$out/fio.ext4
make_system()
{
    local root=$dir/root lib applet
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,etc,lib64}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    rm -f "$root/bin/fio" && cp "$(command -v fio)" "$root/bin/fio"
    mkdir -p "$root/lib"
    ldd "$(command -v fio)" | grep -o '/[^ ]*' | while read -r lib; do
        cp -L "$lib" "$root/lib/"
    done
    cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
    cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/bin:/sbin LD_LIBRARY_PATH=/lib
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
cd /tmp
word() { sed -n "s/.*fio\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
for job in $(word jobs | tr , ' '); do
    set -- --rw=${job%%[0-9]*} --bs=4k --iodepth=1
    case $job in
    *32) set -- "$@" --iodepth=32 ;;
    *1m) set -- "$@" --bs=1m --iodepth=4 ;;
    fsync) set -- --rw=randwrite --bs=4k --iodepth=1 --fsync=1 ;;
    esac
    fio --name=$job --filename=/dev/vdb --ioengine=libaio --direct=1 "$@" \
        --time_based --runtime=$(word seconds) --ramp_time=1 --randseed=1 \
        --norandommap --terse-version=3 --minimal >out 2>err || cat err
    echo "fio: $job $(awk -F';' '{ print $8 + $49, $7 + $48 }' out)"
done
poweroff -f
END
    chmod 755 "$root/sbin/init"
    rm -f "$dir/system"
    mkfs.ext4 -q -d "$root" "$dir/system" 192M
    mv "$dir/system" "$system"
}
[ "$system" -nt "$0" ] || make_system

# --- Runs -----------------------------------------------------------------------

append()
{
    echo "console=ttyS0 husk.root=/dev/vda fio.seconds=$seconds" \
        "fio.jobs=$(tr ' ' , <<<"$jobs") mitigations=off quiet"
}

on_husk() # FORMAT CACHE
{
    timeout 600 "$husk" run -k build/guest/vmlinuz -i build/guest/disk.gz \
        -m 512M -c "$cpus" --disk "$system,format=raw,ro" \
        --disk "$dir/disk.$1,format=$1,cache=$2" -a "$(append)" </dev/null
}

on_qemu() # FORMAT CACHE
{
    local aio=threads
    [ "$2" = none ] && aio=native
    timeout 900 qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu max \
        -smp "$cpus" -m 512M -nographic -no-reboot -nic none \
        -kernel build/guest/vmlinuz -initrd build/guest/disk.gz \
        -object iothread,id=io \
        -drive "if=none,id=a,file=$system,format=raw,readonly=on" \
        -device virtio-blk-pci,drive=a \
        -drive "if=none,id=b,file=$dir/disk.$1,format=$1,cache=$2,aio=$aio" \
        -device "virtio-blk-pci,drive=b,iothread=io,num-queues=$cpus" \
        -append "$(append)" </dev/null
}

# What the host's file gives without a guest.
on_host() # FORMAT CACHE
{
    local job args direct=0
    [ "$2" = none ] && direct=1
    for job in $jobs; do
        args=(--rw="${job%%[0-9]*}" --bs=4k --iodepth=1)
        case $job in
        *32) args+=(--iodepth=32) ;;
        *1m) args+=(--bs=1m --iodepth=4) ;;
        fsync) args=(--rw=randwrite --bs=4k --iodepth=1 --fsync=1) ;;
        esac
        echo "fio: $job $(fio --name="$job" --filename="$dir/disk.raw" \
            --ioengine=libaio --direct="$direct" "${args[@]}" --time_based \
            --runtime="$seconds" --ramp_time=1 --randseed=1 --norandommap \
            --terse-version=3 --minimal | awk -F';' '{ print $8 + $49, $7 + $48 }')"
    done
}

results() # FILE: "job iops" lines
{
    tr -d '\r' <"$1" | sed -n 's/^fio: //p'
}

head -c 1G </dev/urandom >"$dir/disk.raw"
for format in $formats; do
    [ "$format" = raw ] ||
        qemu-img convert -O "$format" "$dir/disk.raw" "$dir/disk.$format"
    for cache in $caches; do
        on_husk "$format" "$cache" >"$dir/husk" 2>&1 || true
        : >"$dir/qemu"
        [ -z "$qemu" ] || on_qemu "$format" "$cache" >"$dir/qemu" 2>&1 || true
        : >"$dir/host"
        [ "$format" != raw ] || on_host "$format" "$cache" >"$dir/host"
        [ -z "$keep" ] || cp "$dir/husk" "$keep/$format-$cache-husk"
        [ -z "$keep" ] || cp "$dir/qemu" "$keep/$format-$cache-qemu"
        echo "$format, cache=$cache, $cpus CPU(s), requests a second:"
        for job in $jobs; do
            awk -v job="$job" '
                $1 == job { v[FILENAME] = $2 }
                END {
                    h = v[ARGV[1]]; q = v[ARGV[2]]; n = v[ARGV[3]]
                    printf("  %-12s husk %8d  QEMU %8d  ratio %5.2f  host %8d\n",
                        job, h, q, q ? h / q : 0, n)
                }' <(results "$dir/husk") <(results "$dir/qemu") \
                <(results "$dir/host")
        done
    done
done
