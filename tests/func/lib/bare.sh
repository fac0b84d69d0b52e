# Sourced by the tests: tiny guests. $dir is the test's own folder.
# shellcheck shell=bash

word() # NUMBER: its four bytes, the lowest first
{
    printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 16 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 24 & 255)))"
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
