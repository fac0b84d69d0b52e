#!/bin/bash
# Does the power-cut test notice when the store leaves out a sync? For each
# reason for which it syncs: replay as if none of those syncs had happened, and
# expect failures. OUT is the build tree. Prints a table.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=$(realpath "${OUT:-build/release}")/powercut
dir=$(mktemp -d "${POWERCUT_DIR:-/dev/shm}/mutations-XXXXXX")
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

# record NAME WORKLOAD-OPTION...
record()
{
    local name=$1
    shift
    mkdir "$dir/disk"
    timeout 120 "$bin/record" "$dir/$name.trace" "$dir/disk" "$bin/workload" \
        "$@" >"$dir/log" 2>&1
    case $? in
    0) ;;
    77)
        echo 'nothing can be recorded here'
        exit 77
        ;;
    *)
        echo "the workload fails: $(tail -n 1 "$dir/log")"
        exit 1
        ;;
    esac
    rm -rf "$dir/disk"
}

record small --ops 350 --cluster-bits 9 --cache 65536 --seed 3
record kills --ops 500 --cluster-bits 10 --seed 4
record grows --ops 1500 --cluster-bits 9 --refcount-order 6 --sectors 6000 \
    --no-kills --no-snapshots
record states --ops 250 --cluster-bits 10 --state --seed 5
record settings --ops 400 --cluster-bits 16 --sectors 256 --settings

names=$(timeout 100 "$bin/replay" --cuts 0 --names "$dir"/*.trace |
    sed -n 's/^barrier //p' | sort | uniq -c | sort -k 2)
printf '%-28s %6s  %s\n' 'sync left out' 'times' 'what the test says'
while read -r times name; do
    noticed=0
    for trace in small kills settings states grows; do
        out=$(timeout 300 "$bin/replay" --cuts 10 --drop "$name" --max-bad 1 \
            --first "$dir/$trace.trace")
        [ $? -ne 1 ] || noticed=1
        [ $noticed -eq 0 ] || break
    done
    if [ $noticed -eq 1 ]; then
        passed=$((passed + 1))
        said=$(sed -nE 's/^  event [^:]*: //p' <<<"$out" | head -n 1)
    else
        failed=$((failed + 1))
        said='NOTHING'
    fi
    printf '%-28s %6s  %.80s\n' "$name" "$times" "$said"
done <<<"$names"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
