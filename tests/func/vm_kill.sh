#!/bin/bash
# vm_kill.sh [ROUNDS]: verbs are killed at any moment, and nothing is left half
# done: the VM is there under one of its names, its settings are the old or the
# new ones, its file is sound, a VM that was being made is there or not. HUSK
# names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
rounds=${1:-60}
passed=0 failed=0

check() # NAME EXPECTED GOT
{
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "vm_kill.sh: $1: FAILED: '$3', not '$2'"
    sed 's/^/    /' "$dir/err" 2>/dev/null | head -n 3
}

# killed WORD...: husk with these, killed after 0 to 15 ms, or ended by then.
killed()
{
    "$husk" "$@" </dev/null >/dev/null 2>&1 &
    local pid=$!
    sleep "0.0$(printf %02d $((RANDOM % 16)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
}

head -c 2000000 /dev/urandom >"$dir/image"
"$husk" create web -d 64M --from "$dir/image" -q >/dev/null || exit 1
"$husk" snapshot web base -q >/dev/null
value=0
for ((i = 1; i <= rounds; i++)); do
    name=$("$husk" list -o name | grep -E '^(web|site)$')
    case $((RANDOM % 7)) in
    0 | 1)
        killed set "$name" labels.n=$i "description=$(head -c 300 /dev/zero | tr '\0' x)$i"
        got=$("$husk" get "$name" labels.n 2>"$dir/err")
        [ "$got" = $i ] || [ "$got" = "$value" ] || [ -z "$got$value" ] || [ "$value" = 0 ]
        check "round $i: settings are old or new" 0 $?
        value=$got
        ;;
    2) killed snapshot "$name" ;;
    3)
        snap=$("$husk" snapshots "$name" -o name | grep -v base | head -n 1)
        [ -n "$snap" ] && killed delete "$name@$snap"
        ;;
    4)
        killed restore --no-save "$name@base"
        value=0
        ;;
    5)
        [ "$name" = web ] && to=site || to=web
        killed rename "$name" $to
        ;;
    6)
        killed create new -d 1G --from "$dir/image"
        if [ -e "$HUSK_HOME/new.husk" ]; then
            "$husk" check new >"$dir/err" 2>&1
            check "round $i: what was made is whole" 0 $?
            "$husk" delete --purge --yes new >/dev/null 2>&1
        fi
        ;;
    esac
    check "round $i: it has one name" 1 "$("$husk" list -o name | grep -Ec '^(web|site)$')"
    name=$("$husk" list -o name | grep -E '^(web|site)$')
    "$husk" check "$name" >"$dir/err" 2>&1
    check "round $i: its file is sound" 0 $?
    "$husk" get "$name" >"$dir/err" 2>&1
    check "round $i: its settings are" 0 $?
done

# Whatever was cut short, it still works.
"$husk" restore --no-save "$name@base" >"$dir/err" 2>&1
check 'restore' 0 $?
"$husk" export "$name" -f raw -o "$dir/out" >"$dir/err" 2>&1
check 'export' 0 $?
check 'its disk is what it was' 0 "$(cmp -n 2000000 "$dir/image" "$dir/out" >"$dir/err" 2>&1; echo $?)"
"$husk" check --repair "$name" >"$dir/err" 2>&1
check 'repair' 0 $?
if command -v qemu-img >/dev/null; then
    check 'qemu-img finds it sound' 0 \
        "$(qemu-img check -q "$HUSK_HOME/$name.husk" >"$dir/err" 2>&1; echo $?)"
fi
check 'no socket, draft or half a file is left' '' \
    "$(find "$HUSK_HOME" -name '.husk*' -o -type s)"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
