#!/bin/bash
# cloud.sh: a cloud image (make_cloud.sh) from a server, with a user, a key, a
# name and a password from cloud-init, and its network: an address, names, the
# host, other hosts' answers, published ports, large files both ways, IPv6. HUSK
# names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
image=$(realpath "${IMAGE:-build/guests-real/cloud.qcow2}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh
[ -e "$image" ] || {
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
}

show()
{
    tail -n 3 "$dir/err" "$dir/run.err" 2>/dev/null
}

h()
{
    timeout 120 "$husk" "$@" </dev/null >"$dir/out" 2>"$dir/err"
}

port() # a free one
{
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

mkdir -p "$dir/www"
ln -s "$image" "$dir/www/cloud.qcow2"
head -c 30M /dev/urandom >"$dir/www/blob"
blob=$(sha256sum <"$dir/www/blob" | cut -d' ' -f1)
(cd "$dir/www" && sha256sum cloud.qcow2 >SHA256SUMS)
www=$(port) ssh=$(port) web=$(port) udp=$(port)
python3 -m http.server -b 127.0.0.1 -d "$dir/www" "$www" >"$dir/www.log" 2>&1 &
pids+=($!)
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
printf '#cloud-config\nwrite_files:\n  - {path: /etc/from-seed, content: "yes"}\n' >"$dir/user"
sleep 1

# --- The image --------------------------------------------------------------------

h create web --from "http://127.0.0.1:$www/cloud.qcow2" --disk 4G -m 1G -c 2 \
    --user me --ssh-key "$dir/key.pub" --cloud-init "$dir/user" --hostname box \
    --password "$(openssl passwd -6 secret)" -p "$ssh:22"
check 'a VM of a cloud image' 0 $?
check 'its sum was looked up' 1 "$(grep -c 'GET /SHA256SUMS' "$dir/www.log")"

start()
{
    "$husk" run "$1" -s "$dir/serial" </dev/null >"$dir/run.out" 2>"$dir/run.err" &
    pid=$!
    pids+=($pid)
}

in_guest()
{
    timeout 120 ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=20 -i "$dir/key" -p "$ssh" \
        me@127.0.0.1 "$@" 2>"$dir/err"
}

wait_for_ssh()
{
    for ((i = 0; i < 60; i++)); do
        in_guest true && return
        sleep 3
    done
}

start web
wait_for_ssh
check 'ssh reaches it with the key' me "$(in_guest id -un)"
in_guest cloud-init status --wait >/dev/null
check 'its name is that of the seed' box "$(in_guest hostname)"
check 'user data was carried out' yes "$(in_guest cat /etc/from-seed)"
check 'the user may do all' 0 "$(in_guest sudo id -u)"
check 'the password is set' P "$(in_guest "sudo passwd -S me" | cut -d' ' -f2)"
check 'the root has grown' yes \
    "$(in_guest 'test $(df --output=size -BM / | tail -1 | tr -d " M") -gt 3000 && echo yes')"

# --- The network ------------------------------------------------------------------

check 'an address by DHCP' 10.0.2.15/24 \
    "$(in_guest "ip -4 -br a" | awk '$1 != "lo" { print $3 }')"
check 'one of IPv6' 1 "$(in_guest "ip -6 -br a" | grep -c fec0::)"
check 'its card has the address of the settings' 1 \
    "$(in_guest ip -br link | grep -c "$("$husk" get web mac)")"
check 'the host is there' "$blob" \
    "$(in_guest "curl -s http://10.0.2.2:$www/blob | sha256sum" | cut -d' ' -f1)"
check 'by IPv6 too' 200 "$(
    python3 -m http.server -b ::1 -d "$dir/www" "$web" >/dev/null 2>&1 &
    server=$!
    sleep 1
    in_guest "curl -s -o /dev/null -w '%{http_code}' 'http://[fec0::2]:$web/SHA256SUMS'"
    kill $server
)"
check 'it answers ARP and ICMP itself' 0 \
    "$(in_guest 'ping -c 2 -W 5 10.0.2.2 >/dev/null; echo $?')"
host=${LOOKUP:-example.org} # a name that the host can resolve
want=$(getent ahostsv4 $host | awk '{ print $1; exit }')
if [ -n "$want" ]; then
    check 'names are those of the host' yes \
        "$(in_guest "getent ahostsv4 $host" | grep -q . && echo yes)"
else
    skipped=$((skipped + 1))
fi
timeout 60 scp -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -i "$dir/key" -P "$ssh" "$dir/www/blob" me@127.0.0.1:blob
check 'scp into it' "$blob" "$(in_guest sha256sum blob | cut -d' ' -f1)"
in_guest cat blob >"$dir/back"
check 'and back' "$blob" "$(sha256sum <"$dir/back" | cut -d' ' -f1)"
# A datagram that is longer than a frame comes in pieces.
check 'a long datagram' 4000 "$(in_guest "python3 - $udp" <<END
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 7777))
s.settimeout(20)
s.sendto(b"x", ("10.0.2.2", $udp))
print(len(s.recv(65536)))
END
)" &
long=$!
python3 - "$udp" <<'END' &
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.settimeout(60)
s.sendto(b"y" * 4000, s.recvfrom(10)[1])
END
pids+=($!)
wait $long

# --- Ports while it runs -----------------------------------------------------------

in_guest 'nohup python3 -m http.server 8000 >/dev/null 2>&1 &'
h port add web "$web:8000"
check 'a port is opened' 0 $?
check 'and leads there' 200 "$(curl -s -o /dev/null -w '%{http_code}' --retry 8 --retry-all-errors \
    "http://127.0.0.1:$web/blob")"
check 'it is listed' 1 "$("$husk" port list web | grep -c "127.0.0.1:$web:8000 *open")"
h port add web "$web:8000"
check 'once' 4 $?
h port rm web "$web:8000"
check 'it is closed' 0 $?
check 'nothing listens then' 000 "$(curl -s -o /dev/null -w '%{http_code}' \
    "http://127.0.0.1:$web/blob")"
h port add web "[::1]:$web:22"
check 'a port of IPv6' SSH-2.0 \
    "$(timeout 30 bash -c "exec 3<>/dev/tcp/::1/$web; head -c 7 <&3")"
h port rm web "[::1]:$web:22"
h port add web "$www:80"
check 'a port that is in use' 1 $?
check 'is not kept' "$ssh:22" "$("$husk" get web ports)"
check 'one process serves it' 1 "$(pgrep -P $pid -c -x husk-net)"
helper=$(pgrep -P $pid -x husk-net)
check 'which has given up its rights' '1 2' \
    "$(awk '/^NoNewPrivs|^Seccomp:/ { printf "%s%s", s, $2; s = " " }' "/proc/$helper/status")"
in_guest sudo poweroff
wait $pid
check 'it goes off' 0 $?
check 'the process is gone' no "$([ -e "/proc/$helper" ] && echo yes || echo no)"

# --- A copy is another instance -----------------------------------------------------

cp "$HUSK_HOME/web.husk" "$HUSK_HOME/copy.husk"
h set copy cloud.hostname=twin
start copy
wait_for_ssh
in_guest cloud-init status --wait >/dev/null
check 'a copy takes its own name' twin "$(in_guest hostname)"
# Without its process the guest's cable is out, and the machine runs on.
kill -9 "$(pgrep -P $pid -x husk-net)"
sleep 2
check 'the loss is told' 1 "$(grep -c 'cable is out' "$dir/run.err")"
kill -0 $pid
check 'and survived' 0 $?

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
