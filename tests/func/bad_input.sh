#!/bin/bash
# Bad usage and bad input: each ends at once with one sentence on standard
# error that names what is wrong, the documented status, and nothing left
# behind. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0

report() # NAME PROBLEM
{
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "bad_input.sh: $1: FAILED: $2"
    sed 's/^/    /' "$dir.err" | head -n 5
}

# refuses NAME STATUS TEXT ARGUMENT...: husk with these arguments, in an empty
# folder, must end with STATUS and one line on stderr that has TEXT in it.
refuses()
{
    local name=$1 status=$2 text=$3 got problem=
    shift 3
    mkdir -p "$dir/empty"
    (cd "$dir/empty" && timeout 20 "$husk" "$@" </dev/null >"$dir.out" \
        2>"$dir.err")
    got=$?
    [ "$got" -eq "$status" ] || problem="status $got, not $status"
    [ "$(wc -l <"$dir.err")" -eq 1 ] || problem+=" not one line"
    grep -q '^husk: ' "$dir.err" || problem+=" does not begin with 'husk: '"
    grep -qF -- "$text" "$dir.err" || problem+=" does not say '$text'"
    [ -s "$dir.out" ] && problem+=" wrote to standard output"
    [ -z "$(ls -A "$dir/empty")" ] || problem+=" left something behind"
    rm -rf "$dir/empty" "$dir.out"
    report "$name" "$problem"
}

# A guest that ends at once: Multiboot with the a.out kludge, 0x100000:
# mov al,1; out 0xf4,al; hlt; jmp back (status 3 with --debug-exit).
word()
{
    printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 16 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 24 & 255)))"
}
make_guest()
{
    word 0x1badb002
    word 0x00010000
    word $((-0x1badb002 - 0x00010000))
    word 0x100000 # header
    word 0x100000 # load
    word 0        # to the end of the file
    word 0        # no bss
    word 0x100020 # entry
    printf '\xb0\x01\xe6\xf4\xf4\xeb\xfd'
}
ok=$dir/ok
make_guest >"$ok"

# --- Usage --------------------------------------------------------------------

refuses 'unknown verb' 2 "no verb 'fly'" fly
refuses 'no kernel' 2 '--kernel' run
refuses 'unknown option' 2 "no option '--frob'" run --frob
refuses 'unknown letter' 2 "no option '-Z'" run -Z
refuses 'value missing' 2 'needs a value' run --kernel
refuses 'value too many' 2 'takes no value' run --kernel "$ok" --no-reboot=1
refuses 'word too many' 2 'one word too many' run --kernel "$ok" more words
refuses 'no such VM' 3 'there is no VM' run --home "$dir/empty" more
refuses 'unknown engine' 2 'engine' run --kernel "$ok" --engine steam
refuses 'unknown CPU model' 2 "'z80'" run --kernel "$ok" --cpu z80
refuses 'bad gdb address' 2 '--gdb' run --kernel "$ok" --gdb here
refuses 'empty serial' 2 '--serial' run --kernel "$ok" --serial ''
refuses 'stdio twice' 2 '--console' run --kernel "$ok" --console stdio

# --- Sizes --------------------------------------------------------------------

for size in 0 0G 0K; do
    refuses "memory of $size" 2 'without memory' run -k "$ok" -m $size
done
for size in '' x 12x -1 1.5G 1GB 0x10 ' 1' 99999999999999999999 17179869184G; do
    refuses "memory of '$size'" 2 'is no size' run -k "$ok" -m "$size"
done
refuses 'memory of 1 MiB' 2 'too little' run -k "$ok" -m 1
refuses 'memory of 1 KiB' 2 'too little' run -k "$ok" -m 1K
refuses 'memory of odd size' 2 'not a multiple' run -k "$ok" -m 8193K
refuses 'more memory than the host' 2 'the host has only' run -k "$ok" -m 15T
refuses 'more memory than addresses' 2 'can address' run -k "$ok" -m 17T
for n in 0 256 1000 -1 x 1x '' 4294967297; do
    refuses "$n CPUs" 2 'is not a number of CPUs' run -k "$ok" -c "$n"
done

# --- Kernels ------------------------------------------------------------------

mkdir "$dir/folder"
mkfifo "$dir/fifo"
: >"$dir/nothing"
echo 'hello' >"$dir/text"
head -c 100000 /dev/zero >"$dir/zeroes"
refuses 'no such file' 2 'No such file' run -k "$dir/missing"
refuses 'a folder' 2 'is a directory' run -k "$dir/folder"
refuses 'a FIFO' 2 'not a regular file' run -k "$dir/fifo"
refuses 'a device' 2 'not a regular file' run -k /dev/null
refuses 'an empty file' 2 'is empty' run -k "$dir/nothing"
refuses 'a text' 2 'no kernel' run -k "$dir/text"
refuses 'zeroes' 2 'no kernel' run -k "$dir/zeroes"
refuses 'a program' 2 'neither a PVH' run -k "$husk"
if [ "$(id -u)" -ne 0 ]; then
    cp "$ok" "$dir/secret" && chmod 0 "$dir/secret"
    refuses 'unreadable' 2 'Permission denied' run -k "$dir/secret"
fi

# at OFFSET BYTES FILE: a file of zeroes with these bytes.
at()
{
    head -c 4096 /dev/zero >"$3"
    printf "$2" | dd of="$3" bs=1 seek="$1" conv=notrunc status=none
}
at 56 'ARM\x64' "$dir/arm64"
refuses 'arm64 Image' 2 'for arm64' run -k "$dir/arm64"
at 56 'RSC\x05' "$dir/riscv"
refuses 'RISC-V Image' 2 'for RISC-V' run -k "$dir/riscv"
at 0 '\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0' "$dir/elf-arm64"
refuses 'arm64 ELF' 2 'for arm64' run -k "$dir/elf-arm64"
at 0 '\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16' "$dir/elf-s390"
refuses 'big-endian ELF' 2 'big-endian' run -k "$dir/elf-s390"
at 0 '\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0' "$dir/elf-bare"
refuses 'ELF without segments' 2 'program headers' run -k "$dir/elf-bare"
printf '\x7fELF\x02\x01\x01' >"$dir/elf-short"
refuses 'ELF of 7 bytes' 2 'truncated' run -k "$dir/elf-short"

# Multiboot that wants to lie outside of memory, over tables, or over itself.
mb()
{
    word 0x1badb002
    word 0x00010000
    word $((-0x1badb002 - 0x00010000))
    for w; do word $((w)); done
}
mb 0xfff00000 0xfff00000 0 0 0xfff00020 >"$dir/mb-high"
refuses 'Multiboot outside memory' 2 'does not lie' run -k "$dir/mb-high"
mb 0xe0000 0xe0000 0 0 0xe0020 >"$dir/mb-tables"
refuses 'Multiboot over tables' 2 'overlaps' run -k "$dir/mb-tables"
mb 0x100000 0x100000 0x200000 0 0x100020 >"$dir/mb-short"
refuses 'Multiboot truncated' 2 'truncated' run -k "$dir/mb-short"
mb 0x100000 0x100000 0 0x100004 0x100020 >"$dir/mb-bss"
refuses 'Multiboot bss inside' 2 'invalid' run -k "$dir/mb-bss"
mb 0x100000 0x100000 0 0 0xa0000 >"$dir/mb-entry"
refuses 'Multiboot entry outside' 2 'entry' run -k "$dir/mb-entry"

kernel=build/guest/vmlinuz
if tools/make-guest >/dev/null 2>&1; then
    size=$(stat -c %s $kernel)
    for part in 600 5000 $((size / 2)) $((size - 4096)); do
        head -c "$part" $kernel >"$dir/cut"
        refuses "bzImage cut to $part" 2 'truncated' run -k "$dir/cut"
    done
    for place in 510 $((size / 2)) 40000; do
        cp $kernel "$dir/bad"
        printf '\x5a\xa5' | dd of="$dir/bad" bs=1 seek="$place" conv=notrunc \
            status=none
        refuses "bzImage damaged at $place" 2 'damaged' run -k "$dir/bad"
    done
    kernel=$(realpath $kernel)
    refuses 'too little memory for a kernel' 2 'needs' run -k "$kernel" -m 32
    refuses 'no such initrd' 2 'No such file' run -k "$kernel" -i "$dir/missing"
    refuses 'an empty initrd' 2 'empty' run -k "$kernel" -i "$dir/nothing"
    refuses 'initrd is a folder' 2 'directory' run -k "$kernel" -i "$dir"
    truncate -s 200M "$dir/big"
    refuses 'initrd over memory' 2 'does not fit' run -k "$kernel" -m 128 \
        -i "$dir/big"
    refuses 'initrd beside kernel' 2 'does not fit' run -k "$kernel" -m 256 \
        -i "$dir/big"
    refuses 'command line too long' 2 'longer than' run -k "$kernel" \
        -a "$(head -c 5000 /dev/zero | tr '\0' x)"
else
    skipped=$((skipped + 1))
fi

# --- Places for characters ------------------------------------------------------

refuses 'serial in a missing folder' 2 'No such file' run -k "$ok" \
    -s "$dir/missing/log"
refuses 'serial is a folder' 2 'directory' run -k "$ok" -s "$dir/folder"
refuses 'socket is a file' 2 'not a socket' run -k "$ok" -s "unix:$dir/text"
[ "$(cat "$dir/text")" = hello ] || report 'file in the way' 'was changed'
long=$(head -c 200 /dev/zero | tr '\0' x)
refuses 'socket path too long' 2 'longer than' run -k "$ok" -s "unix:$dir/$long"
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$dir/locked" && chmod 500 "$dir/locked"
    refuses 'serial in a locked folder' 2 'Permission denied' run -k "$ok" \
        -s "$dir/locked/log"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
