#!/bin/bash
# husk reads what QEMU wrote: images of all cluster sizes, refcount widths,
# compressions and depths of backing, read by husk, by QEMU and by the checker,
# and for some by libqcow, a reader by others. OUT is the build tree.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=$(realpath "${OUT:-build/release}")/powercut
dir=$(mktemp -d "${QCOW2DIFF_DIR:-/dev/shm}/images-XXXXXX")
passed=0 failed=0 skipped=0
trap 'umount "$dir/mnt" 2>/dev/null; rm -rf "$dir"' EXIT
command -v qemu-img >/dev/null && command -v qemu-io >/dev/null || {
    echo 'no qemu-img'
    exit 77
}
cd "$dir" || exit 1

result() # PROBLEM NAME
{
    if [ -z "$1" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$2: $1"
    fi
}

# same NAME IMAGE [qemu]: all readers see the same, for writers, too.
same()
{
    local problem=
    qemu-img convert -f qcow2 -O raw "$2" qemu.raw || problem='QEMU fails'
    "$bin/opener" --read "$2" husk.raw || problem='husk refuses it'
    [ -n "$problem" ] || cmp -s qemu.raw husk.raw ||
        problem='husk reads other than QEMU'
    result "$problem" "$1"
}

# fill IMAGE BYTES: data, zeroes, holes, parts of clusters.
fill()
{
    local n=$2
    qemu-io -f qcow2 -d unmap \
        -c "write -P 1 0 $((n / 3))" -c "write -P 2 $((n / 3 + 512)) 1536" \
        -c "write -z $((n / 8)) $((n / 8))" -c "write -z -u $((n / 4)) 65536" \
        -c "discard $((n / 16)) 131072" -c "write -P 3 $((n - 1024)) 1024" \
        "$1" >/dev/null
}

for cluster in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
    for bits in 1 2 4 8 16 32 64; do
        qemu-img create -q -f qcow2 \
            -o "cluster_size=$cluster,refcount_bits=$bits" a.qcow2 5M
        fill a.qcow2 5242880
        if [ $bits -gt 1 ]; then
            qemu-img snapshot -c one a.qcow2
            qemu-io -f qcow2 -c 'write -P 7 100k 1M' a.qcow2 >/dev/null
        fi
        same "clusters of $cluster, counts of $bits bits" a.qcow2
    done
    qemu-img create -q -f qcow2 -o "cluster_size=$cluster,compat=0.10" a.qcow2 5M
    fill a.qcow2 5242880
    same "clusters of $cluster, version 2" a.qcow2
    # Half of it can be compressed.
    { head -c 1500000 /dev/zero | tr '\0' z
        head -c 1000000 "$bin/opener"
        seq 300000; } >plain.raw
    truncate -s 5M plain.raw
    for type in zlib zstd; do
        qemu-img convert -c -f raw -O qcow2 \
            -o "cluster_size=$cluster,compression_type=$type" plain.raw a.qcow2
        same "clusters of $cluster, $type" a.qcow2
        cmp -s husk.raw plain.raw || result 'not what was packed' \
            "clusters of $cluster, $type"
    done
done

for cluster in 16k 64k 2M; do
    qemu-img create -q -f qcow2 -o "cluster_size=$cluster,extended_l2=on" \
        a.qcow2 5M
    fill a.qcow2 5242880
    same "clusters of $cluster, extended L2" a.qcow2
done

for depth in 1 2 5 20; do
    for format in raw qcow2; do
        qemu-img create -q -f $format layer0 3M
        qemu-io -f $format -c 'write -P 9 0 3M' layer0 >/dev/null
        for ((i = 1; i <= depth; i++)); do
            f=qcow2
            [ $i -gt 1 ] || f=$format
            # Each is longer than what is below, of another cluster size.
            qemu-img create -q -f qcow2 -b "layer$((i - 1))" -F $f \
                -o "cluster_size=$((1 << (9 + i % 8)))" "layer$i" \
                $((3145728 + i * 100000 / 512 * 512))
            qemu-io -f qcow2 -c "write -P $i $((i * 70000)) 33333" \
                -c "write -z $((i * 90000)) 5000" "layer$i" >/dev/null
        done
        same "$depth layers on $format" "layer$depth"
    done
done

# A second reader by others; it knows neither snapshots nor version 3 in full.
if command -v qcowmount >/dev/null && [ -e /dev/fuse ]; then
    mkdir mnt
    for compat in 0.10 1.1; do
        "$bin/workload" --base 2048
        qemu-img convert -f raw -O qcow2 -o compat=$compat base.raw a.qcow2
        # husk writes, the other reads.
        [ $compat = 0.10 ] || "$bin/opener" a.qcow2 husk.raw
        if timeout 20 qcowmount a.qcow2 mnt >/dev/null 2>&1; then
            problem=
            cmp -s -n 1048576 mnt/qcow1 base.raw || problem='libqcow differs'
            umount mnt
            result "$problem" "libqcow, compat $compat"
        else
            echo "libqcow does not read compat $compat"
            skipped=$((skipped + 1))
        fi
    done
else
    echo 'no libqcow-utils'
    skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
