#!/bin/bash
# Run KVM's unit tests (the kvm-unit-tests project) under husk: a line for each.
#
# usage: tests/guests-real/kvm_unit_tests.sh DIR [NAME...]
#
# DIR is a tree of them that has been configured (for x86_64 or i386) and built;
# NAMEs are sections of its x86/unittests.cfg. Nested virtualization and SEV are
# left out. HUSK names the binary. Logs go to DIR/husk-logs.
set -u
dir=$(realpath "${1:?which tree?}") || exit 2
shift
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
logs=$dir/husk-logs
mkdir -p "$logs"
arch=$(sed -n 's/^ARCH=//p' "$dir/config.mak")
passed=0 failed=0 skipped=0

# One line a test: name, architecture, CPUs, file, arguments.
list()
{
    awk 'function out() {
            if (name) printf "%s|%s|%s|%s|%s\n", name, arch, smp, file, args
            arch = "any"; smp = 1; args = ""
        }
        /^\[/ { out(); name = substr($0, 2, length($0) - 2) }
        /^file *=/ { file = $3 }
        /^arch *=/ { arch = $3 }
        /^smp *=/ { smp = $3 ~ /^[0-9]+$/ ? ($3 > 4 ? 4 : $3) : 2 }
        /^test_args *=/ { sub(/^[^=]*= */, ""); args = $0 }
        END { out() }' "$dir/x86/unittests.cfg"
}

wanted() # NAME: is it one of those named, or worth trying?
{
    local n
    [ ${#names[@]} -eq 0 ] && case $1 in
    *svm* | *vmx* | *ept* | *sev* | *nested* | *vnmi*) return 1 ;;
    *) return 0 ;;
    esac
    for n in "${names[@]}"; do
        [ "$n" = "$1" ] && return 0
    done
    return 1
}

# The suite's own quotes and commands, as its run_tests.sh has them.
words() # ARGUMENTS
{
    local text=$1
    text=${text//\"/}
    text=${text//\'/}
    text=${text//\$(date +%s)/$(date +%s)}
    text=${text//\`date +%s\`/$(date +%s)}
    printf '%s' "$text"
}

one() # NAME CPUS FILE ARGUMENTS
{
    local status=0 log=$logs/$1
    timeout 120 "$husk" run --kernel "$dir/x86/$3" --cpus "$2" --memory 256M \
        --debug-exit --append "$(words "$4")" </dev/null >"$log" 2>&1 ||
        status=$?
    case $status in
    1) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) && echo "$1: skipped" && return ;;
    *)
        failed=$((failed + 1))
        echo "$1: FAILED: status $status"
        grep -a '^FAIL' "$log" | head -n 3 | sed 's/^/    /'
        return
        ;;
    esac
    echo "$1: passed"
}

names=("$@")
while IFS='|' read -r name of cpus file args; do
    [ "$of" = any ] || [ "$of" = "$arch" ] || continue
    [ -e "$dir/x86/$file" ] || continue
    wanted "$name" && one "$name" "$cpus" "$file" "$args"
done < <(list)
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
