#!/bin/bash
# What husk says about itself: help, husk(1), README and the completions name
# the same verbs and options. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
passed=0 failed=0 skipped=0

check() # NAME EXPECTED GOT
{
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "help.sh: $1: FAILED: '$3', not '$2'"
}

# has NAME TEXT PATTERN: a line of TEXT matches.
has()
{
    check "$1" 1 "$(grep -Ec -m 1 -- "$3" <<<"$2")"
}

help=$("$husk" run --help)
check 'help succeeds' 0 $?
verbs=$("$husk" help | sed -nE 's/^  ([a-z]+) .*/\1/p')
options=$(sed -nE 's/^  (-.,|   ) --([a-z-]+).*/\2/p' <<<"$help")
check 'help lists verbs' yes "$([ "$(wc -w <<<"$verbs")" -ge 4 ] && echo yes)"
check 'help lists options' yes \
    "$([ "$(wc -w <<<"$options")" -ge 14 ] && echo yes)"

check 'help of a verb' "$help" "$("$husk" help run)"
check 'the first option asks for help' "$help" "$("$husk" run -h)"
check '--help is help' "$("$husk" help)" "$("$husk" --help)"
check '--version is version' "$("$husk" version)" "$("$husk" --version)"
for verb in $verbs; do
    "$husk" "$verb" --help >/dev/null 2>&1
    check "help of $verb" 0 $?
done
for wrong in 'version more' 'help run more' 'completion' 'completion csh' \
    'version --frob' 'help fly' 'completion bash zsh'; do
    # shellcheck disable=SC2086
    said=$("$husk" $wrong 2>&1 >/dev/null)
    check "status of '$wrong'" 2 $?
    has "'$wrong' gets a sentence" "$said" '^husk: .'
done
"$husk" >/dev/null 2>&1
check 'no verb' 2 $?

# --- Texts ------------------------------------------------------------------

page=$(sed 's/ Ns //; s/\\&//g' docs/man/husk.1)
for option in $options; do
    has "husk(1) has --$option" "$page" "^\\.It .*Fl -$option( |\$)"
    [ "$option" = help ] || has "README has --$option" "$(cat README.md)" \
        "\`--$option[ \`]"
done
for verb in $verbs; do
    has "husk(1) has $verb" "$page" "^\\.It Cm $verb\$"
    if command -v mandoc >/dev/null; then
        check "the page of $verb is well-formed" '' \
            "$("$husk" help --man "$verb" | mandoc -T lint -W warning 2>&1 |
                grep -v 'referenced manual not found')"
    fi
done
while read -r status _; do
    [ -n "$status" ] && has "husk(1) has status $status" "$page" "^\\.It $status"
done < <(sed -n '/^Exit status:/,$s/^  //p' <<<"$help")
if command -v mandoc >/dev/null; then
    check 'husk(1) is well-formed' '' \
        "$(mandoc -T lint -W warning docs/man/husk.1)"
else
    skipped=$((skipped + 1))
fi

# --- Completions ------------------------------------------------------------

# in_bash WORD...: what bash offers for the last of these words.
in_bash()
{
    bash -c 'compopt() { :; }
        eval "$("$1" completion bash)"
        shift
        COMP_WORDS=(husk "$@") COMP_CWORD=$#
        _husk
        printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "' - "$husk" "$@"
}
check 'bash: verbs' "$(sort <<<"$verbs" | tr '\n' ' ')" "$(in_bash '')"
check 'bash: a verb' 'version ' "$(in_bash v)"
check 'bash: forms of output' 'json jsonl ' "$(in_bash list -o j)"
check 'bash: help' 'recover rename restore run ' "$(in_bash help r)"
check 'bash: shells' 'bash fish zsh ' "$(in_bash completion '')"
check 'bash: options' '--cpu --cpus ' "$(in_bash run --cpu)"
check 'bash: all options' "$(sort <<<"$options" | sed 's/^/--/' | tr '\n' ' ')" \
    "$(in_bash run -)"
check 'bash: words' 'husk-v2 husk-v3 ' "$(in_bash run --cpu husk)"
check 'bash: firmware' 'bios ' "$(in_bash create --firmware b)"
check 'bash: files' 'README.md ' "$(in_bash run -k READ)"
check 'bash: places' 'stdio ' "$(in_bash run --serial std)"

if command -v zsh >/dev/null; then
    check 'zsh: it is well-formed' '' \
        "$("$husk" completion zsh | zsh -n /dev/stdin 2>&1)"
else
    skipped=$((skipped + 1))
fi
if command -v fish >/dev/null; then
    offers=$("$husk" completion fish |
        fish -c 'source; complete -C "husk run --cpu"' 2>&1)
    has 'fish: options' "$offers" '^--cpus'
    offers=$("$husk" completion fish |
        fish -c 'source; complete -C "husk run --engine "' 2>&1)
    has 'fish: words' "$offers" '^auto'
else
    skipped=$((skipped + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
