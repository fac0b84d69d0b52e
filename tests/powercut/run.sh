#!/bin/bash
# Cut the power under husk's qcow2 store: record workloads, replay each prefix
# and many subsets of what was not synced, judge every image (docs/testing.md).
# OUT is the build tree, SAMPLES how many cuts of each workload other programs
# get (6), SEED where the dice begin. An argument is how many times as much to do
# (1).
set -u
cd "$(dirname "$0")/../.." || exit 1
times=${1:-1}
seed=${SEED:-1}
bin=$(realpath "${OUT:-build/release}")/powercut
dir=$(mktemp -d "${POWERCUT_DIR:-/dev/shm}/powercut-XXXXXX")
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0 cuts=0 samples=0
want_cuts=$((100000 * times))

result() # STATUS NAME TEXT
{
    case $1 in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    printf '%-34s %s\n' "$2" "$3"
}

# one NAME SAMPLES WORKLOAD-OPTION...: record and replay.
one()
{
    local name=$1 nsamples=$2 status log=$dir/log sum
    shift 2
    mkdir -p "$dir/disk"
    if [ -n "${prepare:-}" ]; then
        (cd "$dir/disk" && eval "$prepare") || {
            result 1 "$name" 'the image cannot be made'
            return
        }
    fi
    # What was there before is no event: the recorder begins with it.
    timeout 120 "$bin/record" $recorder "$dir/trace" "$dir/disk" \
        sh -c '[ ! -e start ] || { cp start disk.qcow2 && sync disk.qcow2; }
            exec "$@"' sh "$bin/workload" --seed "$seed" "$@" >"$log" 2>&1
    status=$?
    if [ $status -eq 77 ]; then
        result 77 "$name" 'neither FUSE nor ptrace'
    elif [ $status -ne 0 ]; then
        result 1 "$name" "workload: $(tail -n 1 "$log")"
    else
        cp "$dir/disk/base.raw" "$dir" 2>/dev/null
        timeout 600 "$bin/replay" --seed "$seed" --cuts "$per_event" \
            --samples "$nsamples" --dir "$dir" --opener "$bin/opener" \
            "$dir/trace" >"$log" 2>&1
        status=$?
        sum=$(sed -nE 's/^total: ([0-9]+) cuts, ([0-9]+) samples.*/\1 \2/p' \
            "$log")
        # shellcheck disable=SC2086
        set -- ${sum:-0 0}
        cuts=$((cuts + $1)) samples=$((samples + $2))
        result $status "$name" "$1 cuts, $2 given to other programs"
        [ $status -eq 0 ] || cat "$log"
    fi
    rm -rf "$dir/disk" "$dir/trace" "$dir/base.raw"
}

have_qemu=1
command -v qemu-img >/dev/null || have_qemu=0
n=$((have_qemu * ${SAMPLES:-6} * times))
per_event=26
recorder=
prepare=

one 'clusters of 512 bytes' $n --ops $((500 * times)) --cluster-bits 9 \
    --cache 65536
one 'clusters of 512, counts of 64 bits' $n --ops $((250 * times)) \
    --cluster-bits 9 --refcount-order 6 --sectors 2048
one 'clusters of 512, counts of 1 bit' $n --ops $((300 * times)) \
    --cluster-bits 9 --refcount-order 0
one 'clusters of 1 KiB, counts of 2 bits' $n --ops $((300 * times)) \
    --cluster-bits 10 --refcount-order 1
one 'clusters of 4 KiB' $n --ops $((500 * times)) --cluster-bits 12 \
    --sectors 1024 --cache 65536
one 'four threads' $n --ops $((120 * times)) --cluster-bits 10 --threads 4 \
    --sectors 512
one 'a host that runs out of space' $n --ops $((250 * times)) --full 12 \
    --cluster-bits 10
one 'clusters of 64 KiB, settings' $n --ops $((200 * times)) \
    --cluster-bits 16 --sectors 2048 --settings
one 'states and variables' $n --ops $((250 * times)) --cluster-bits 10 \
    --state
one 'states, clusters of 64 KiB' $n --ops $((100 * times)) \
    --cluster-bits 16 --sectors 2048 --state --settings
one 'states, four threads' $n --ops $((80 * times)) --cluster-bits 12 \
    --threads 4 --sectors 512 --state
two_disks()
{
    local log=$dir/log sum
    mkdir -p "$dir/disk"
    (cd "$dir/disk" && "$bin/pair" --make) &&
        timeout 200 "$bin/record" "$dir/trace" "$dir/disk" sh -c \
            'cp main.start main.husk && cp second.start second.qcow2 &&
                sync main.husk second.qcow2 && exec "$@"' \
            sh "$bin/pair" "$seed" $((30 * times)) >"$log" 2>&1
    case $? in
    0) ;;
    77)
        result 77 'two disks' 'neither FUSE nor ptrace'
        return
        ;;
    *)
        result 1 'two disks' "workload: $(tail -n 1 "$log")"
        return
        ;;
    esac
    timeout 600 "$bin/pair_replay" "$dir/trace" >"$log" 2>&1
    sum=$?
    [ $sum -eq 0 ] || cat "$log"
    result $sum 'two disks' "$(sed -n 's/^total: \([0-9]* cuts\).*/\1/p' "$log")"
    rm -rf "$dir/disk" "$dir/trace"
}
two_disks
per_event=8
one 'clusters of 2 MiB' $((n / 3)) --ops $((30 * times)) --cluster-bits 21 \
    --sectors 16384
per_event=26
recorder=--ptrace
one 'another recorder (ptrace)' 0 --ops 100 --cluster-bits 9 --seed 7
recorder=
if [ $have_qemu -eq 1 ]; then
    prepare='qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=1k \
        start 256k'
    one 'version 2' $n --ops $((300 * times)) --existing 0 --sectors 512 \
        --cluster-bits 10
    prepare='"$bin/workload" --base 512 && qemu-img create -q -f qcow2 \
        -o cluster_size=1k -b base.raw -F raw start'
    one 'with a backing file' $n --ops $((300 * times)) --existing 1 \
        --sectors 512 --cluster-bits 10
    prepare='"$bin/workload" --base 1024 && qemu-img convert -c -O qcow2 \
        -o cluster_size=4k base.raw start && rm base.raw'
    one 'compressed clusters' $n --ops $((300 * times)) --existing 1 \
        --sectors 1024 --cluster-bits 12
    prepare=
else
    result 77 'images made by QEMU' 'no qemu-img'
fi

if [ $cuts -lt $want_cuts ]; then
    result 1 'enough cuts' "$cuts, not $want_cuts"
else
    result 0 'enough cuts' "$cuts, $samples given to qemu-img and husk's open"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
