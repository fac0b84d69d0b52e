#!/bin/bash
# net.sh [--seconds N]: iperf3 in a guest of the cloud image (make_cloud.sh),
# through the user-mode network to this host, of husk and of QEMU's TCG beside
# it: bits a second each way, and their ratio. Ends with 0 if none is below 2.
# HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
image=$(realpath "${IMAGE:-build/guests-real/cloud.qcow2}")
seconds=6
[ "${1:-}" = --seconds ] && seconds=$2
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home

port() # a free one
{
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

ssh=$(port) iperf=$(port)
iperf3 -s -B 127.0.0.1 -p "$iperf" >"$dir/iperf.log" 2>&1 &
pids+=($!)
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
"$husk" create net --from "$image" --disk 4G -m 1G -c 2 --user me \
    --ssh-key "$dir/key.pub" -p "$ssh:22" --no-progress -q >/dev/null || exit 1

in_guest()
{
    timeout 120 ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=20 -i "$dir/key" -p "$ssh" \
        me@127.0.0.1 "$@"
}

# Bits a second: from the guest, and to it.
measure()
{
    for ((i = 0; i < 80; i++)); do
        in_guest true 2>/dev/null && break
        sleep 3
    done
    in_guest cloud-init status --wait >/dev/null
    for way in '' -R; do
        in_guest "iperf3 -J $way -c 10.0.2.2 -p $iperf -t $seconds" |
            python3 -c 'import json, sys
print(int(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"]))'
    done
    in_guest sudo poweroff
}

"$husk" run net -s "$dir/serial" </dev/null >/dev/null 2>&1 &
pid=$!
pids+=($pid)
mapfile -t ours < <(measure)
wait $pid

# The disk has the key by now.
"$husk" export net -o "$dir/q.qcow2" --no-progress -q >/dev/null
qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1G \
    -drive "file=$dir/q.qcow2,if=virtio" -nographic -monitor none \
    -netdev "user,id=n,hostfwd=tcp:127.0.0.1:$ssh-:22" \
    -device "virtio-net-pci,netdev=n,addr=0x14,mac=$("$husk" get net mac)" \
    -serial "file:$dir/qserial" </dev/null >/dev/null 2>&1 &
pid=$!
pids+=($pid)
mapfile -t theirs < <(measure)
wait $pid

python3 - "${ours[@]}" "${theirs[@]}" <<'END'
import sys
v = [int(x) for x in sys.argv[1:]]
low = 0
for way, ours, theirs in ("from the guest", v[0], v[2]), ("to the guest", v[1], v[3]):
    print(f"{way}: husk {ours / 1e6:.0f} Mbit/s, QEMU {theirs / 1e6:.0f}, {ours / theirs:.1f}x")
    low += ours < 2 * theirs
print(f"{2 - low} passed, {low} failed, 0 skipped")
sys.exit(low > 0)
END
