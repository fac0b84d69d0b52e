#!/bin/bash
# VMs of images from elsewhere: formats, compression, addresses, sums, what is
# left after a failure; the CD for cloud-init. HUSK names the binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
server=
trap '[ -n "$server" ] && kill $server; mountpoint -q "$dir/small" && umount "$dir/small"
    rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    tail -n 3 "$dir/err" 2>/dev/null
}

h()
{
    timeout 60 "$husk" "$@" </dev/null >"$dir/out" 2>"$dir/err"
}

# what VM: the sum of its disk's first 16 MiB
what()
{
    rm -f "$dir/x.img"
    h export "$1" -f raw -o "$dir/x.img" && head -c 16M "$dir/x.img" | sha256sum | cut -d' ' -f1
}

# Files that are there: VMs, downloads, anything hidden.
left()
{
    find "$HUSK_HOME" -type f | wc -l
}

www=$dir/www
mkdir -p "$www" "$HUSK_HOME"
{
    head -c 3M /dev/urandom
    head -c 9M /dev/zero
    head -c 4M /dev/urandom
} >"$www/disk.img"
sum=$(sha256sum <"$www/disk.img" | cut -d' ' -f1)
for pack in gzip xz zstd bzip2; do
    command -v $pack >/dev/null && $pack -q -k -c "$www/disk.img" >"$www/disk.img.$pack"
done

# --- Files -----------------------------------------------------------------------

h create plain --from "$www/disk.img" --sha256 "$sum"
check 'a raw file' 0 $?
check 'all of it' "$sum" "$(what plain)"
h create wrong --from "$www/disk.img" --sha256 "${sum//[0-8]/9}"
check 'another sum' 8 $?
check 'in a sentence' 1 "$(wc -l <"$dir/err")"
check 'leaves nothing' 1 "$(left)"
h create wrong --from "$www/disk.img" --sha256 12
check 'no sum' 2 $?
for pack in gzip xz zstd bzip2; do
    if [ ! -e "$www/disk.img.$pack" ]; then
        skipped=$((skipped + 1))
        continue
    fi
    h create "c-$pack" --from "$www/disk.img.$pack" --disk 64M
    check "by $pack" 0 $?
    check "all of it ($pack)" "$sum" "$(what "c-$pack")"
    check "grown ($pack)" 67108864 "$("$husk" get "c-$pack" disk)"
    head -c 100000 "$www/disk.img.$pack" >"$dir/cut"
    n=$(left)
    h create cut --from "$dir/cut"
    check "cut short ($pack)" 8 $?
    check "leaves nothing ($pack)" "$n" "$(left)"
done
h create small --from "$www/disk.img" --disk 8M
check 'no disk is smaller than its image' 2 $?
cp "$www/disk.img" "$dir/a b%.img"
h create blank --from "file://$dir/a%20b%25.img"
check 'a file address' 0 $?
h create none --from "file://$dir/none"
check 'which is not there' 3 $?
tar -C "$www" -czf "$dir/disk.tar.gz" disk.img
h create tar --from "$dir/disk.tar.gz"
check 'an archive is no disk' 8 $?
if command -v qemu-img >/dev/null; then
    qemu-img convert -O qcow2 -c "$www/disk.img" "$www/disk.qcow2"
    xz -k -c "$www/disk.qcow2" >"$www/disk.qcow2.xz"
    h create q --from "$www/disk.qcow2"
    check 'qcow2' "$sum" "$(what q)"
    h create qx --from "$www/disk.qcow2.xz"
    check 'qcow2 by xz' "$sum" "$(what qx)"
    qemu-img create -q -f qcow2 -b /etc/passwd -F raw "$www/evil.qcow2" 1G 2>/dev/null
    gzip -k -c "$www/evil.qcow2" >"$www/evil.gz"
    h create evil --from "$www/evil.gz" --yes
    check 'an image must not name our files' 7 $?
fi

# --- Addresses -------------------------------------------------------------------

# Serves $www at a port that it prints; of "/slow/x.img" it sends less than
# it promises and waits.
cat >"$dir/server.py" <<'END'
import http.server, os, sys, time
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        print(self.command, self.path, self.headers.get("Range"), file=log, flush=True)
        if self.path == "/slow/x.img":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.send_header("ETag", '"slow"')
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.wfile.flush()
            time.sleep(60)
        else:
            super().do_GET()
    def log_message(self, *args):
        pass
os.chdir(sys.argv[1])
log = open(sys.argv[2], "w")
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
s.daemon_threads = True
print(s.server_address[1], flush=True)
s.serve_forever()
END
if command -v python3 >/dev/null; then
    python3 "$dir/server.py" "$www" "$dir/log" >"$dir/port" 2>/dev/null &
    server=$!
    for ((i = 0; i < 100; i++)); do
        [ -s "$dir/port" ] && break
        sleep 0.05
    done
    url=http://127.0.0.1:$(cat "$dir/port")
    h create web --from "$url/disk.img.xz"
    check 'from a server' 0 $?
    check 'all of it from there' "$sum" "$(what web)"
    check 'it was asked for a list' 1 "$(grep -c 'SHA256SUMS' "$dir/log")"
    h create web2 --from "$url/disk.img.xz"
    check 'once more' 0 $?
    (cd "$www" && sha256sum disk.img disk.img.gzip >SHA256SUMS)
    h create listed --from "$url/disk.img"
    check 'by a list' 0 $?
    before=$(grep -c 'GET /disk.img None' "$dir/log")
    h create again --from "$url/disk.img"
    check 'what is known is not sent again' "$before" "$(grep -c 'GET /disk.img None' "$dir/log")"
    check 'and is right' "$sum" "$(what again)"
    n=$(left)
    echo x >>"$www/disk.img.gzip"
    h create changed --from "$url/disk.img.gzip"
    check 'not what the list says' 8 $?
    check 'leaves nothing of it' "$n" "$(left)"
    h create gone --from "$url/none.img"
    check 'not there' 3 $?
    h create gone --from http://127.0.0.1:1/x.img
    check 'no server' 1 $?
    check 'leaves nothing either' "$n" "$(left)"
    h create evil --from "$url/evil.qcow2" --yes
    check 'nor may what a server sends' 7 $?

    # What was begun is not a VM, and goes on or is asked for anew.
    "$husk" create slow --from "$url/slow/x.img" </dev/null >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 100; i++)); do
        [ -s "$(find "$HUSK_HOME/cache" -name '*.part')" ] 2>/dev/null && break
        sleep 0.05
    done
    h create slow2 --from "$url/slow/x.img"
    check 'two at once' 5 $?
    kill $pid
    wait $pid
    check 'cut short by a signal' 143 $?
    check 'no VM came of it' 0 "$(find "$HUSK_HOME" -name '*slow*' | wc -l)"
    mkdir "$www/slow"
    timeout 5 "$husk" create slow --from "$url/slow/x.img" </dev/null >/dev/null 2>&1
    check 'it asks for the rest' 1 "$(grep -c '/slow/x.img bytes=1000-' "$dir/log")"
else
    skipped=$((skipped + 15))
fi

# --- A full disk -----------------------------------------------------------------

mkdir "$dir/small"
if mount -t tmpfs -o size=6M none "$dir/small" 2>/dev/null; then
    h create full --from "$www/disk.img" --home "$dir/small"
    check 'no space' 10 $?
    check 'is one sentence' 1 "$(wc -l <"$dir/err")"
    h create full --from "$www/disk.img.xz" --home "$dir/small"
    check 'no space to unpack' 10 $?
    if [ -n "$server" ]; then
        h create full --from "$url/disk.img" --home "$dir/small"
        check 'no space to download' 10 $?
    fi
    check 'and nothing is left' 0 "$(find "$dir/small" -type f | wc -l)"
    umount "$dir/small"
else
    skipped=$((skipped + 5))
fi

# --- What cloud-init is told -----------------------------------------------------

# shellcheck disable=SC2016
hash='$6$salt$hash'
echo 'ssh-ed25519 AAAAC3Nza me@here' >"$dir/key.pub"
printf '#cloud-config\nruncmd: [ls]\n' >"$dir/user"
h create cloud -d 16M --user me --password "$hash" --ssh-key "$dir/key.pub" \
    --ssh-key "$dir/key.pub" --hostname box --cloud-init "$dir/user"
check 'options for cloud-init' 0 $?
check 'the user' me "$("$husk" get cloud cloud.user)"
check 'both keys' 2 "$("$husk" get cloud --json | grep -o 'AAAAC3Nza' | wc -l)"
h create bad -d 16M --password secret
check 'a password that is not hashed' 2 $?
h create bad -d 16M --user 'A B'
check 'no name of a user' 2 $?
h create bad -d 16M --cloud-init "$dir/key.pub"
check 'no user data' 2 $?
h create bad -d 16M --ssh-key "$dir/none"
check 'no key' 3 $?
check 'and no VM' 0 "$(find "$HUSK_HOME" -name 'bad*' | wc -l)"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
