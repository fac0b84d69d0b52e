#!/bin/bash
# Damaged images, settings and backing chains: husk's store and verbs refuse
# them or live with them; they never crash, hang, or take more than 64 MiB.
# OUT is the build tree, HUSK the binary. Arguments: those of `hostile`.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$(realpath "${OUT:-build/release}")
husk=$(realpath "${HUSK:-$out/husk}")
dir=$(mktemp -d "${HOSTILE_DIR:-/tmp}/hostile-XXXXXX")
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0

add() # OUTPUT: believe its last line
{
    local sums
    sums=$(tail -n 1 <<<"$1" | sed -nE \
        's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p')
    # shellcheck disable=SC2086
    set -- ${sums:-0 1 0}
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

mkfifo "$dir/fifo"
probes=()
for mode in read write snapshots check repair care; do
    probes+=("$out/prober $mode @")
done
text=$("$out/hostile" "$@" "$dir" "${probes[@]}" 2>&1)
grep -av '^[0-9]* passed' <<<"$text"
add "$text"

export HUSK_HOME=$dir/home
mkdir "$HUSK_HOME"
# Damaged tables, seen by verbs that take a plain image.
text=$("$out/hostile" "$@" "$dir" "maybe $husk check @" \
    "maybe $husk check --repair @" \
    "maybe $husk info @" 2>&1)
grep -av '^[0-9]* passed' <<<"$text"
add "$text"
# Settings, in the file of a VM.
if "$husk" create "$dir/vm.husk" --disk 1M >/dev/null; then
    text=$("$out/hostile" --settings "$dir/vm.husk" "$dir" "$husk get @" \
        "$husk info --json @" "$husk set @ cpus=2" 2>&1)
    grep -av '^[0-9]* passed' <<<"$text"
    add "$text"
else
    echo 'no VM can be made'
    failed=$((failed + 1))
fi

# refuses NAME IMAGE: opening it fails with one line, at once.
refuses()
{
    local problem= text
    text=$(cd "$dir" && ulimit -v 2000000 && timeout 10 "$out/prober" read "$2" \
        2>&1 >/dev/null)
    [ $? -eq 1 ] || problem='was not refused, or not in time'
    [ "$(wc -l <<<"$text")" -eq 1 ] || problem='more than one line'
    if [ -z "$problem" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$1: $problem: $text"
    fi
}

if command -v qemu-img >/dev/null; then
    make() # FILE BACKING
    {
        (cd "$dir" && qemu-img create -q -f qcow2 -u -b "$2" -F qcow2 "$1" 1M)
    }
    make a.qcow2 b.qcow2 && make b.qcow2 a.qcow2
    refuses 'a loop of two' a.qcow2
    make c.qcow2 ./././c.qcow2
    refuses 'a loop of one' c.qcow2
    ln -s d1.qcow2 "$dir/d0.qcow2"
    make d1.qcow2 d0.qcow2
    refuses 'a loop by a symbolic link' d1.qcow2
    ln "$dir/c.qcow2" "$dir/e.qcow2"
    refuses 'a loop by a second name' e.qcow2
    for i in {0..99}; do
        make "chain$i.qcow2" "chain$((i + 1)).qcow2"
    done
    (cd "$dir" && qemu-img create -q -f qcow2 chain100.qcow2 1M)
    refuses 'a chain of 101' chain0.qcow2
else
    echo 'no qemu-img: backing chains were not tried'
    skipped=$((skipped + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
