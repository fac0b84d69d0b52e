#!/bin/bash
# The kernel's own x86 self-tests (tools/testing/selftests/x86, 32- and 64-bit,
# static), natively, under QEMU's TCG and under husk: a line per test.
#
# usage: tests/guests-real/selftests.sh [--on "native tcg husk"] [--cpus N]
#                                       [--only "TEST..."]
#
# Sources come from Debian's linux-source-6.1. Logs are left in
# build/selftests/<where>.log. Ends with 1 if husk fails what TCG passes.
# HUSK names the binary.
set -euo pipefail
cd "$(dirname "$0")/../.."
husk=${HUSK:-build/release/husk}
on="native tcg husk" cpus=2 only=
while [ $# -gt 0 ]; do
    case $1 in
    --on) on=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --only) only=$2 && shift ;;
    *)
        echo "selftests.sh: unknown option '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
out=$PWD/build/selftests
src=$out/src/tools/testing/selftests/x86

# --- Build -------------------------------------------------------------------

both="single_step_syscall sysret_ss_attrs syscall_nt test_mremap_vdso
    check_initial_reg_state sigreturn iopl ioperm test_vsyscall mov_ss_trap
    sigtrap_loop syscall_arg_fault fsgsbase_restore sigaltstack ldt_gdt
    ptrace_syscall"
only_32="entry_from_vm86 test_syscall_vdso unwind_vdso test_FCMOV test_FCOMI
    test_FISTTP vdso_restorer"
only_64="fsgsbase sysret_rip syscall_numbering corrupt_xstate_header amx"

fetch()
{
    local work=$out/work
    [ -e "$src/helpers.h" ] && return
    mkdir -p "$work" "$out/src"
    (cd "$work" && apt-get -qq -o APT::Sandbox::User= download linux-source-6.1)
    dpkg-deb -x "$work"/linux-source-6.1_*.deb "$work"
    tar -C "$out/src" --strip-components=1 \
        -xf "$work/usr/src/linux-source-6.1.tar.xz" \
        linux-source-6.1/tools/testing/selftests \
        linux-source-6.1/arch/x86/include
    rm -rf "$work"
}

# build BITS TEST: as the tests' own Makefile does it, but static.
build()
{
    local flags=() more=
    [ -x "$out/tree/st/$2_$1" ] && return
    case $2_$1 in
    sysret_ss_attrs_64) more=thunks.S ;;
    ptrace_syscall_32) more=raw_syscall_helper_32.S ;;
    test_syscall_vdso_32) more=thunks_32.S ;;
    check_initial_reg_state_*) flags=(-Wl,-ereal_start) ;;
    esac
    (cd "$src" && gcc "-m$1" -O2 -g -std=gnu99 -pthread -w -no-pie -static \
        -DCAN_BUILD_32 -DCAN_BUILD_64 "${flags[@]}" -o "$out/tree/st/$2_$1" \
        "$2.c" $more -lrt -ldl -lm) 2>>"$out/build.log" ||
        echo "selftests.sh: cannot build $2 for $1 bits, see build.log"
}

fetch
mkdir -p "$out/tree/st"
: >"$out/build.log"
for t in $both $only_32; do
    build 32 "$t"
done
for t in $both $only_64; do
    build 64 "$t"
done

# The same program natively and in the guest.
cat >"$out/tree/st/run" <<'END'
#!/bin/sh
cd "${0%/*}" || exit 1
for t in ${*:-*_32 *_64}; do
    timeout 300 "./$t" 2>&1 </dev/null >/tmp/st.out
    s=$?
    tail -c 20000 /tmp/st.out | sed "s/^/    /"
    echo
    echo "selftest $t $s"
done
END
chmod 755 "$out/tree/st/run"
tools/make-guest
(cat build/guest/initrd.gz &&
    cd "$out/tree" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) \
    >"$out/initrd.gz"

# --- Run ---------------------------------------------------------------------

append="console=ttyS0 quiet husk.test=\"sh /st/run $only\""
guest=(-kernel build/guest/vmlinuz -initrd "$out/initrd.gz")
for where in $on; do
    case $where in
    native) sh "$out/tree/st/run" $only ;;
    tcg)
        timeout 1200 qemu-system-x86_64 -M pc -accel tcg -cpu max -smp "$cpus" \
            -m 512 -nographic -no-reboot -nic none "${guest[@]}" \
            -append "$append"
        ;;
    husk)
        timeout 600 "$husk" run --cpus "$cpus" --memory 512M --no-reboot \
            --kernel "${guest[1]}" --initrd "${guest[3]}" --append "$append"
        ;;
    esac </dev/null >"$out/$where.log" 2>&1 ||
        echo "selftests.sh: $where: ended with status $?"
done

# --- Compare -----------------------------------------------------------------

# verdict WHERE TEST
verdict()
{
    local s
    s=$(tr -d '\r' <"$out/$1.log" |
        sed -n "s/^selftest $2 \([0-9]*\)\$/\1/p" | tail -n 1)
    case $s in
    0) echo pass ;;
    124 | 143) echo hang ;;
    '') echo none ;;
    *) echo "fail($s)" ;;
    esac
}

worse=0
printf '%-30s' test
printf '%10s' $on
echo
for t in ${only:-$(cd "$out/tree/st" && ls -d *_32 *_64)}; do
    printf '%-30s' "$t"
    for where in $on; do
        v=$(verdict "$where" "$t")
        printf '%10s' "$v"
        [ "$where" = tcg ] && tcg=$v
    done
    echo
    if [ "${tcg:-}" = pass ] && [ "$v" != pass ]; then
        worse=$((worse + 1))
    fi
done
echo "$worse worse than under TCG"
[ "$worse" -eq 0 ]
