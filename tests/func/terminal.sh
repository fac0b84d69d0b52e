#!/bin/bash
# husk on a terminal, as a person uses it (in tmux): keys reach the guest, all
# but Ctrl-]; whatever ends the run, the terminal is as before. Then, that an
# idle guest costs nearly no CPU time. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
command -v tmux >/dev/null || {
    echo "terminal.sh: skipped: no tmux"
    exit 77
}
tools/make-guest >/dev/null 2>&1 || {
    echo "terminal.sh: skipped: no guest"
    exit 77
}
dir=$(mktemp -d)
unset TMUX
t() { tmux -S "$dir/$server" -f /dev/null "$@"; }
server=tmux
trap 't kill-server 2>/dev/null; rm -rf "$dir"' EXIT
passed=0 failed=0

check() # NAME EXPECTED GOT
{
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "terminal.sh: $1: FAILED: '$3', not '$2'"
    t capture-pane -p | grep . | tail -n 15 | sed 's/^/    /'
}

# shows PATTERN: wait until a line of the screen matches; half a minute at most.
shows()
{
    for ((i = 0; i < 300; i++)); do
        t capture-pane -p | grep -Eq -- "$1" && return 0
        sleep 0.1
    done
    return 1
}

gone() # PATTERN
{
    for ((i = 0; i < 300; i++)); do
        t capture-pane -p | grep -Eq -- "$1" || return 0
        sleep 0.1
    done
    return 1
}
type_in() { t send-keys -l -- "$1" && t send-keys Enter; }

# In the pane a shell runs husk, then prints its status and whether the
# terminal's settings have changed.
cat >"$dir/pane" <<E2
before=\$(stty -g)
while read -r words; do
    clear
    eval "'$husk' run -k build/guest/vmlinuz -i build/guest/initrd.gz \$words"
    printf '\n%s\n' "ended: \$? \$([ "\$(stty -g)" = "\$before" ] && echo same || echo changed)"
done
E2

# start WORDS: boot to the shell.
start()
{
    type_in "$1"
    gone '^ended:' # the screen of the run before, with its prompt
    shows '^guest:.*[#$]' && return
    check "boots ($1)" yes no
    echo "$passed passed, $failed failed, 0 skipped"
    exit 1
}

t new-session -d -x 100 -y 50 "bash $dir/pane"
quiet='-a "console=ttyS0 quiet"'

start "$quiet"
check 'the first line tells how to end it' 1 \
    "$(t capture-pane -p | grep . | head -n 1 | grep -c 'Ctrl-\]')"
type_in 'echo in-$((6*7))'
shows '^in-42$'
check 'keys reach the guest' 0 $?
type_in 'sleep 1000'
sleep 1
t send-keys C-c
shows 'guest:.*[#$] $'
type_in 'echo after $?'
shows '^after 130$'
check 'Ctrl-C goes to the guest' 0 $?
type_in poweroff
shows '^ended: 0 same$'
check 'power-off' 0 $?

start "$quiet"
t send-keys 'C-]'
shows '^ended: 0 same$'
check 'Ctrl-] ends it' 0 $?

start "$quiet"
t send-keys C-l # what was on the screen is no longer
type_in 'clear; reboot'
shows '^Linux .* on husk' && shows '^guest:.*[#$]'
check 'a reboot starts the guest again' 0 $?
pid=$(pgrep -f "^$husk run -k build/guest/vmlinuz .*quiet\$" | head -n 1)

# --- An idle guest -------------------------------------------------------------

# ticks PID: user and system time, in clock ticks.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
sleep 2
first=$(ticks "$pid")
sleep 10
used=$(($(ticks "$pid") - first))
check 'an idle guest takes less than 1% of a CPU' yes \
    "$([ $((used * 1000 / $(getconf CLK_TCK))) -lt 100 ] && echo yes ||
        echo "$used ticks in 10 s")"

kill -TERM "$pid"
shows '^ended: 143 same$'
check 'SIGTERM' 0 $?

start "$quiet --no-reboot"
type_in 'reboot'
shows '^ended: 0 same$'
check 'a reboot with --no-reboot' 0 $?

type_in '-s none -c 1000'
shows '^ended: 2 same$'
check 'bad usage' 0 $?

# A job in the background must not be stopped, nor read the keys.
cat >"$dir/jobs" <<E2
set -m
'$husk' run -k build/guest/vmlinuz -i build/guest/initrd.gz \
    -a 'console=ttyS0 quiet husk.test="echo in-\$((6*7))"' &
wait \$!
echo "job: \$?"
sleep 1000
E2
t kill-server
server=tmux2 # the old one may still be ending
t new-session -d -x 100 -y 50 "bash $dir/jobs"
shows '^job: 0'
check 'a job in the background runs to its end' 0 $?

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
