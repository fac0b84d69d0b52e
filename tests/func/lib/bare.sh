# Sourced by the tests: tiny guests. $dir is the test's own folder.
# shellcheck shell=bash

word() # NUMBER: its four bytes, the lowest first
{
    printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 16 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 24 & 255)))"
}

# boot_disk FILE TEXT: a disk of 1 MiB whose boot sector says TEXT on COM1 and
# then switches off by ACPI (the port of the BIOS).
boot_disk()
{
    local code

    code='\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xbe\x22\x7c' # si = text
    code+='\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5'        # each byte
    code+='\xba\x04\x06\xb8\x00\x34\xef\xf4\xeb\xfd'            # off; hlt
    printf "$code$2\\n" >"$1"
    truncate -s 510 "$1"
    printf '\x55\xaa' >>"$1"
    truncate -s 1M "$1"
}

# bare FILE CODE: a Multiboot guest of these bytes of 32-bit code.
bare()
{
    {
        word 0x1badb002
        word 0x00010000
        word $((-0x1badb002 - 0x00010000))
        word 0x100000
        word 0x100000
        word 0
        word 0
        word 0x100020
        printf "$2"
    } >"$dir/$1"
}
