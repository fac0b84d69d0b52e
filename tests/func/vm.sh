#!/bin/bash
# VM files as a user handles them: made, listed, changed, renamed, deleted and
# brought back, snapshots, images in and out, QEMU's tools beside husk, and the
# sentence and status of what goes wrong. Nothing runs here. HUSK names the
# binary.
set -u
cd "$(dirname "$0")/../.." || exit 1
husk=$(realpath "${HUSK:-build/release/husk}")
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$dir"' EXIT
export HUSK_HOME=$dir/home
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    head -n 5 "$dir/err" 2>/dev/null
}

# h WORD...: husk with these; output in $dir/out, errors in $dir/err.
h()
{
    timeout 60 "$husk" "$@" </dev/null >"$dir/out" 2>"$dir/err"
}

# ok NAME WORD...: it succeeds and says nothing wrong.
ok()
{
    local name=$1
    shift
    h "$@"
    check "$name" 0 $?
    check "$name: no error" '' "$(cat "$dir/err")"
}

# refuses NAME STATUS TEXT WORD...: one sentence that has TEXT in it.
refuses()
{
    local name=$1 status=$2 text=$3
    shift 3
    h "$@"
    check "$name" "$status" $?
    check "$name: one sentence" 1 "$(grep -c '^husk: ' "$dir/err")"
    check "$name: it says '$text'" 1 "$(grep -cF -- "$text" "$dir/err")"
}

# is NAME KEY EXPECTED VM: a member of what info says.
member()
{
    "$husk" info "$1" --json | sed -nE "s/^ *\"$2\": (.*[^,]),?\$/\1/p" | head -n 1
}

sound() # NAME FILE
{
    ok "$1: husk finds it sound" check "$2"
    command -v qemu-img >/dev/null || return
    check "$1: so does qemu-img" 0 \
        "$(qemu-img check -q "$2" >"$dir/err" 2>&1; echo $?)"
}

have_qemu=
command -v qemu-img >/dev/null && command -v qemu-io >/dev/null && have_qemu=1

# --- Made and seen ---------------------------------------------------------------

ok 'an empty home has no VMs' list
check 'nothing is said of none' '' "$(cat "$dir/out")"
check 'none is an empty array' '[]' "$("$husk" list --json)"
check 'looking makes no folder' no "$([ -e "$HUSK_HOME" ] && echo yes || echo no)"
ok 'create' create web -d 1G -m 1G -c 2 --label team=red --description 'a b'
web=$HUSK_HOME/web.husk
check 'only its owner reads it' 600 "$(stat -c %a "$web")"
check 'it is sparse' yes "$([ "$(stat -c %b "$web")" -lt 2048 ] && echo yes)"
check 'nothing else is there' web.husk "$(ls -A "$HUSK_HOME")"
ok 'list' list
check 'it is listed' 1 "$(grep -c '^web  *stopped  *2  *1G  *1G' "$dir/out")"
check 'names only' web "$("$husk" ls -o name)"
check 'a line of JSON for each' 1 "$("$husk" list -o jsonl | grep -c '^{.*}$')"
check 'of another label' '[]' "$("$husk" list -l team=blue --json)"
check 'of its label' web "$("$husk" list -l team=red -o name)"
check 'info: cpus' 2 "$(member web cpus)"
check 'info: memory' 1073741824 "$(member web memory)"
check 'info: disk' 1073741824 "$(member web disk)"
check 'info: state' '"stopped"' "$(member web state)"
check 'info: firmware' '"bios"' "$(member web kind)"
check 'info: why' '"it has neither a boot sector nor a partition table"' \
    "$(member web why)"
check 'info by path' "$("$husk" info web --json)" "$("$husk" info "$web" --json)"
check 'quiet create says the name' db "$("$husk" create -q db -d 64M)"
ok 'create by path' create "$dir/there.husk" -d 64M
check 'it is there' yes "$([ -e "$dir/there.husk" ] && echo yes)"
sound 'a new VM' "$web"

refuses 'create what is there' 4 'is there already' create web
refuses 'create with a bad name' 2 'cannot be the name' create 'a b'
refuses 'create without a name' 2 'missing' create
refuses 'create with a bad size' 2 'no size of a disk' create x -d 0
refuses 'create with no CPUs' 2 'number of CPUs' create x -c 0
refuses 'create with a missing kernel' 3 'No such file' create x -k "$dir/none"
refuses 'create in a missing folder' 3 'No such file' create "$dir/no/x.husk"
refuses 'info of no VM' 3 "there is no VM 'none'" info none
refuses 'info of a text' 8 'not a VM file' info tests/func/vm.sh
refuses 'a folder' 2 'is a directory' info "$dir/"
check 'what was refused left nothing' 'db.husk web.husk ' \
    "$(ls -A "$HUSK_HOME" | tr '\n' ' ')"
h info none --json
check 'an error as JSON' '{"error":{"code":"not_found","status":3,' \
    "$(head -c 40 "$dir/err")"

# --- Settings ---------------------------------------------------------------------

ok 'set' set web cpus=4 memory=2G labels.owner=me boot.append='a=1 b'
check 'get' 4 "$("$husk" get web cpus)"
check 'get a size' 2147483648 "$("$husk" get web memory)"
check 'get a text' 'a=1 b' "$("$husk" get web boot.append)"
check 'get a label' me "$("$husk" get web labels.owner)"
check 'get a default' husk-v3 "$("$husk" get web cpu)"
ok 'a setting is taken away' set web cpus= labels.owner=
check 'it has its default' 1 "$("$husk" get web cpus)"
refuses 'set no key' 2 'there is no setting' set web colour=red
refuses 'set no value' 2 'not KEY=VALUE' set web cpus
refuses 'set nonsense' 2 'number of CPUs' set web memory=3G cpus=many
check 'all or nothing' 2147483648 "$("$husk" get web memory)"
refuses 'set the name' 2 'cannot be set' set web name=x
refuses 'get no key' 2 'there is no setting' get web colour
ok 'the disk grows' set web disk=+1G
check 'by so much' 2147483648 "$("$husk" get web disk)"
refuses 'the disk does not shrink' 2 'can only grow' set web disk=1G
long=$(head -c 256 /dev/zero | tr '\0' x)
for i in $(seq 60); do printf 'labels.l%s=%s\n' "$i" "$long$i"; done >"$dir/labels"
long=${long:0:250}
mapfile -t many < <(for i in $(seq 60); do echo "labels.l$i=$long$i"; done)
ok 'long settings' set web "${many[@]}"
mapfile -t many < <(for i in $(seq 60); do echo "labels.l$i="; done)
ok 'they go again' set web "${many[@]}"

printf '#!/bin/sh\nsed -i "s/\\"memory\\": [0-9]*/\\"memory\\": 33554432/" "$1"\n' \
    >"$dir/editor"
printf '#!/bin/sh\necho nonsense >"$1"\n' >"$dir/bad-editor"
chmod +x "$dir/editor" "$dir/bad-editor"
VISUAL=$dir/editor ok 'edit' edit web
check 'what was edited counts' 33554432 "$("$husk" get web memory)"
VISUAL=$dir/bad-editor refuses 'edit to nonsense' 2 'no JSON' edit web
VISUAL=false refuses 'an editor that fails' 1 'nothing was changed' edit web
check 'nothing has changed' 33554432 "$("$husk" get web memory)"
check 'no draft is left' '' "$(ls /tmp/husk-edit-* 2>/dev/null)"

# --- Names and the trash --------------------------------------------------------------

uuid=$("$husk" get web uuid)
ok 'rename' rename web site
check 'it has the name' site "$("$husk" get site name)"
check 'and its identity' "$uuid" "$("$husk" get site uuid)"
refuses 'rename to what is there' 4 'is there already' rename site db
refuses 'rename what is not' 3 'there is no VM' rename web x
mv "$HUSK_HOME/site.husk" "$dir/moved.husk"
check 'a moved file is what it was' "$uuid" "$("$husk" get "$dir/moved.husk" uuid)"
mv "$dir/moved.husk" "$web"
ok 'protect' protect web
refuses 'what is protected stays' 4 'is protected' delete web
ok 'unprotect' unprotect web
ok 'delete' delete web
check 'it is gone' db "$("$husk" list -o name)"
check 'it is in the trash' web "$("$husk" list --trash -o name)"
ok 'its name is free' create web -d 64M
refuses 'recover over another' 4 'is there already' recover web
ok 'recover under another name' recover web --as web2
check 'it is what it was' "$uuid" "$("$husk" get web2 uuid)"
refuses 'recover what is not' 3 'no VM' recover web2
ok 'delete several' rm web2 "$dir/there.husk"
refuses 'purge does not go unasked' 2 'not without --yes' purge
ok 'purge what is old' purge --yes --older 1d
check 'there is none' 2 "$("$husk" list --trash -o name | wc -l)"
refuses 'purge what is not' 3 'no VM' purge --yes nothing
refuses 'a bad time' 2 'is no time' purge --older soon
ok 'purge one' purge --yes there
ok 'purge all' purge --yes
check 'the trash is empty' '[]' "$("$husk" list --trash --json)"
refuses 'delete for ever asks' 2 'not without --yes' delete --purge web
ok 'delete for ever' delete --purge --yes web
check 'it is not in the trash' '[]' "$("$husk" list --trash --json)"
refuses 'delete what is not' 3 'there is no VM' delete web

# --- Snapshots ----------------------------------------------------------------------------

ok 'a VM for snapshots' create web -d 64M -c 1
ok 'snapshot' snapshot web one -m 'the first'
ok 'its settings change' set web cpus=3
check 'a name is chosen' snap1 "$("$husk" snapshot -q web)"
refuses 'a name is taken once' 4 'already' snapshot web one
refuses 'a bad name' 2 'cannot be the name of a snapshot' snapshot web 'a b'
refuses 'no VM' 3 'there is no VM' snapshot none
check 'they are listed' 'one snap1 ' \
    "$("$husk" snapshots web -o name | tr '\n' ' ')"
check 'as a tree' 1 "$("$husk" snapshots web | grep -c '^  snap1  *yes')"
check 'info counts them' 2 "$(member web snapshots)"
ok 'restore' restore web@one
check 'the settings are back' 1 "$("$husk" get web cpus)"
check 'what was there is kept' 1 \
    "$("$husk" snapshots web -o name | grep -c '^before-restore1$')"
ok 'back again, without' restore --no-save web@before-restore1
check 'the settings, too' 3 "$("$husk" get web cpus)"
check 'nothing more is kept' 3 "$("$husk" snapshots web -o name | wc -l)"
refuses 'restore to nothing' 3 'has no snapshot' restore web@none
check 'and nothing is kept for it' 3 "$("$husk" snapshots web -o name | wc -l)"
refuses 'restore without a snapshot' 2 'say which' restore web
ok 'snapshots are deleted' delete web@one web@before-restore1
check 'the rest is there' snap1 "$("$husk" snapshots web -o name)"
refuses 'delete what is not' 3 'has no snapshot' delete web@one
sound 'after snapshots' "$HUSK_HOME/web.husk"

# Space comes back.
if [ -n "$have_qemu" ]; then
    image=$HUSK_HOME/web.husk
    qemu-io -c 'write -q -P 1 0 32M' "$image"
    ok 'a snapshot of 32 MiB' snapshot web big
    qemu-io -c 'write -q -P 2 0 32M' "$image"
    before=$(stat -c %b "$image")
    ok 'it is deleted' delete web@big
    check 'its space is back' yes \
        "$([ $((before - $(stat -c %b "$image"))) -gt 60000 ] && echo yes)"
    check 'the disk is what it was' 0 \
        "$(qemu-io -c 'read -q -P 2 0 32M' "$image" >"$dir/err" 2>&1; echo $?)"
    sound 'after a deletion' "$image"
fi

# Second disks.
ok 'a VM with three disks' create three -d 64M -d 32M -d 16M
check 'they are beside it' 'three.disk1.qcow2 three.disk2.qcow2 three.husk ' \
    "$(ls "$HUSK_HOME" | grep three | tr '\n' ' ')"
ok 'a snapshot of all' snapshot three s
if [ -n "$have_qemu" ]; then
    check 'the second has it' 1 \
        "$(qemu-img snapshot -l "$HUSK_HOME/three.disk1.qcow2" | grep -c ' s ')"
fi
ok 'restore all' restore --no-save three@s
ok 'delete it in all' delete three@s
ok 'its disks go with it' delete three
check 'they are in the trash' '' "$(ls "$HUSK_HOME" | grep three)"
ok 'it comes back' recover three
check 'they come back' 3 "$(ls "$HUSK_HOME" | grep -c three)"
ok 'delete it again' delete three
ok 'for ever' purge --yes
check 'nothing is left of it' '' "$(ls "$HUSK_HOME/trash")"
ok 'another VM' create other -d 64M
ok 'a VM that calls it its disk' create thief -d 64M
ok 'by name' set thief 'disks=other.husk'
ok 'is deleted' delete --purge --yes thief
check 'the other is there' other "$("$husk" list other -o name)"
truncate -s 1M "$dir/raw.img"
ok 'a VM with a raw disk' create rawone -d 64M -d "$dir/raw.img"
refuses 'it cannot be snapshotted' 2 'is raw' snapshot rawone

# --- Images in and out ------------------------------------------------------------------

head -c 3000000 /dev/urandom >"$dir/in.img"
truncate -s 100M "$dir/in.img"
ok 'import raw' import "$dir/in.img" imported -c 3
check 'its size' 104857600 "$("$husk" get imported disk)"
check 'its settings' 3 "$("$husk" get imported cpus)"
check 'holes stay holes' yes \
    "$([ "$(stat -c %b "$HUSK_HOME/imported.husk")" -lt 10000 ] && echo yes)"
ok 'export raw' export imported -f raw -o "$dir/out.img"
check 'it is the same' 0 "$(cmp "$dir/in.img" "$dir/out.img" >&2; echo $?)"
check 'holes are holes again' yes \
    "$([ "$(stat -c %b "$dir/out.img")" -lt 10000 ] && echo yes)"
refuses 'export over a file' 4 'is there already' export imported -f raw \
    -o "$dir/out.img"
ok 'export qcow2' export imported -o "$dir/out.qcow2"
ok 'import that' import "$dir/out.qcow2"
check 'its name is the file'\''s' out "$("$husk" list out -o name)"
ok 'out once more' export out -f raw -o "$dir/again.img"
check 'it is still the same' 0 "$(cmp "$dir/in.img" "$dir/again.img" >&2; echo $?)"
refuses 'import what is not' 3 'No such file' import "$dir/none.img"
refuses 'import a folder' 2 'is a directory' import "$dir" folder
refuses 'import what is there' 4 'is there already' import "$dir/in.img" out
refuses 'an unknown format' 2 'does not know the format' import -f tar "$dir/in.img" x
refuses 'export in one' 2 'does not know the format' export out -f tar
ok 'create from an image' create filled --from "$dir/in.img"
check 'its size is the image'\''s' 104857600 "$("$husk" get filled disk)"
sound 'an imported VM' "$HUSK_HOME/out.husk"
if [ -n "$have_qemu" ]; then
    qemu-img create -q -f qcow2 -F raw -b "$dir/in.img" "$dir/top.qcow2"
    refuses 'what an image is based on is ours' 7 'is based on' import "$dir/top.qcow2"
    ok 'we can agree' import --yes "$dir/top.qcow2"
    ok 'its contents' export top -f raw -o "$dir/top.img"
    check 'are those below' 0 "$(cmp "$dir/in.img" "$dir/top.img" >&2; echo $?)"
    for f in vmdk vdi vhdx vhd; do
        ok "export $f" export out -f $f -o "$dir/out.$f"
        ok "import $f" import "$dir/out.$f" "from-$f"
        ok "$f, raw again" export "from-$f" -f raw -o "$dir/$f.img"
        # VHD rounds the size to its cylinders.
        check "$f: contents" 0 \
            "$(cmp -n 104857600 "$dir/in.img" "$dir/$f.img" >&2; echo $?)"
        rm -f "$dir/$f.img" "$dir/out.$f"
        ok "drop $f" delete --purge --yes "from-$f"
    done
    check 'nothing is left beside' 0 "$(find "$dir" -name '.husk*' | wc -l)"
    (PATH=/nowhere; "$husk" export out -f vdi -o "$dir/none.vdi" >/dev/null) \
        2>"$dir/err"
    check 'without qemu-img' 2 $?
    check 'it says what is missing' 1 "$(grep -c 'qemu-utils' "$dir/err")"
    check 'nothing is left of it' '' "$(ls "$dir"/none.vdi "$dir"/.husk* 2>/dev/null)"
else
    skipped=$((skipped + 1))
fi

# --- QEMU's tools beside husk -----------------------------------------------------------------

if [ -n "$have_qemu" ]; then
    ok 'a VM for QEMU' create q -d 64M -c 2 --label a=b
    image=$HUSK_HOME/q.husk
    # More than fits beside the snapshot's entry: it gets a state area.
    long=$(head -c 3000 /dev/urandom | base64 -w 0)
    ok 'long settings' set q "description=$long"
    ok 'a snapshot of it' snapshot q mine
    qemu-img create -q -f raw "$dir/base.img" 64M
    for step in "snapshot -c theirs" "resize -q %s +64M" \
        "snapshot -a mine" "amend -q -f qcow2 -o compat=0.10" \
        "amend -q -f qcow2 -o compat=1.1" "snapshot -a theirs" \
        "rebase -q -u -F raw -b $dir/base.img" "rebase -q -u -b" \
        "check -q -r all" "bitmap --add -f qcow2 %s bits" "check -q"; do
        # (check -r all of an image with a bitmap, also of QEMU's own, loses all
        # snapshots in QEMU 7.2.)
        case $step in
        *%s*) command=${step/\%s/$image} ;;
        'rebase -q -u -b') command="rebase -q -u -b '' $image" ;;
        *) command="$step $image" ;;
        esac
        eval "qemu-img $command" >"$dir/err" 2>&1
        check "qemu-img $step" 0 $?
        check "settings after $step" 2b "$("$husk" get q cpus)$(
            "$husk" get q labels.a)"
        ok "they can be changed after $step" set q "description=$step"
        check "snapshots after $step" mine "$("$husk" snapshots q -o name | head -n 1)"
    done
    check 'QEMU sees its own snapshot' 1 \
        "$(qemu-img snapshot -l "$image" | grep -c theirs)"
    check 'and so does husk' 1 "$("$husk" snapshots q -o name | grep -c theirs)"
    ok 'which can restore it' restore q@theirs
    check 'the settings are not those of the snapshot' no \
        "$([ "$("$husk" get q description)" = "$long" ] && echo yes || echo no)"
    ok 'the first one has its settings' restore q@mine
    check 'all of them' "$long" "$("$husk" get q description)"
    sound 'after QEMU' "$image"
else
    skipped=$((skipped + 1))
fi

# --- Damage ---------------------------------------------------------------------------------

ok 'a VM to damage' create hurt -d 64M
head -c 3000 "$HUSK_HOME/hurt.husk" >"$HUSK_HOME/cut.husk"
refuses 'a cut file' 8 "cut.husk" info cut
ok 'list shows it all the same' list
check 'with its state' 1 "$(grep -c '^cut  *damaged' "$dir/out")"
check 'and the others' 1 "$(grep -c '^hurt  *stopped' "$dir/out")"
# Both slots, whatever is in them.
at=$(grep -aobF '{"husk":1' "$HUSK_HOME/hurt.husk" | head -n 1 | cut -d: -f1)
for place in "$at" $((at + 27648)); do
    printf 'xxxx' | dd of="$HUSK_HOME/hurt.husk" bs=1 seek="$place" conv=notrunc \
        status=none
done
refuses 'damaged settings' 8 'damaged' get hurt cpus
h check hurt
check 'check tells' 8 $?
ok 'its disk can be saved' export hurt -f raw -o "$dir/saved.img"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
