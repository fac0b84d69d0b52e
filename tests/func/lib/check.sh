# Sourced by the tests: counting checks. A test defines show(), which prints
# what helps to understand a failed one, and ends with its own sum.
# shellcheck shell=bash
passed=0 failed=0 skipped=0
name=${0##*/}

check() # NAME EXPECTED GOT
{
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "$name: $1: FAILED: '$3', not '$2'"
    show | sed 's/^/    /'
}

skip() # NAME WHY
{
    skipped=$((skipped + 1))
    echo "$name: $1: skipped: $2"
}
