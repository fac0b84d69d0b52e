#!/bin/bash
# Does the power-cut test notice when the store does things in a wrong order?
# Each mutant changes a copy of the source in one place, is built, and must make
# the test fail. An argument: only mutants whose names match it.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d "${POWERCUT_DIR:-/dev/shm}/mutants-XXXXXX")
trap 'rm -rf "$dir"' EXIT
only=${1:-}
passed=0 failed=0

cp -r src Makefile ARCHITECTURE.md "$dir"
mkdir "$dir/tests"
cp -r tests/powercut "$dir/tests"
ln -s "$PWD/tools" "$dir/tools"
build()
{
    make -s -C "$dir" OUT=build/m CFLAGS_release='-O1 -w' powercut >"$dir/log" 2>&1
}
bin=$dir/build/m/powercut

# try SEED WORKLOAD-OPTION...: 0: nothing was noticed; else what, on stdout.
try()
{
    local status
    rm -rf "$dir/disk"
    mkdir "$dir/disk"
    timeout 60 "$bin/record" "$dir/trace" "$dir/disk" "$bin/workload" \
        --seed "$@" >"$dir/out" 2>&1
    status=$?
    if [ $status -eq 77 ]; then
        echo 'nothing can be recorded here' >&2
        exit 77
    fi
    # A store that trips over its own mess has been noticed, too; what it wrote
    # until then is judged first.
    timeout 200 "$bin/replay" --cuts 12 --first --max-bad 1 --samples 3 \
        --dir "$dir" --opener "$bin/opener" "$dir/trace" >"$dir/replay" 2>&1
    case $? in
    0) [ $status -eq 0 ] || tail -n 1 "$dir/out" ;;
    1) sed -nE 's/^  event [^:]*: //p' "$dir/replay" | head -n 1 ;;
    *) tail -n 1 "$dir/replay" ;;
    esac
}

# The same with snapshots over two disks.
try_two()
{
    rm -rf "$dir/disk"
    mkdir "$dir/disk"
    (cd "$dir/disk" && "$bin/pair" --make) && timeout 60 "$bin/record" \
        "$dir/trace" "$dir/disk" sh -c 'cp main.start main.husk &&
            cp second.start second.qcow2 &&
            sync main.husk second.qcow2 && exec "$@"' \
        sh "$bin/pair" "$1" 12 >"$dir/out" 2>&1 || tail -n 1 "$dir/out"
    timeout 200 "$bin/pair_replay" "$dir/trace" >"$dir/replay" 2>&1
    [ $? -ne 1 ] || sed -nE 's/^  event [^:]*: //p' "$dir/replay" | head -n 1
}

noticed()
{
    local said seed
    for seed in 3 4 5; do
        said=$(try $seed --ops 300 --cluster-bits 9 --cache 65536)
        [ -z "$said" ] || break
        said=$(try $seed --ops 150 --cluster-bits 16 --sectors 1024 --settings)
        [ -z "$said" ] || break
        said=$(try $seed --ops 300 --cluster-bits 12 --sectors 1024 --no-kills)
        [ -z "$said" ] || break
        said=$(try $seed --ops 200 --cluster-bits 10 --state)
        [ -z "$said" ] || break
        said=$(try_two $seed)
        [ -z "$said" ] || break
    done
    echo "$said"
}

# mutant NAME FILE SED-EXPRESSION...
mutant()
{
    local name=$1 file=$dir/src/$2 said args=() e
    [[ $name == *"$only"* ]] || return
    shift 2
    for e; do
        args+=(-e "$e")
    done
    cp "$file" "$dir/kept"
    sed -i "${args[@]}" "$file"
    if cmp -s "$file" "$dir/kept"; then
        said='THE SOURCE HAS CHANGED: it does not apply'
        failed=$((failed + 1))
    elif ! build; then
        said="DOES NOT BUILD: $(grep -m 1 error: "$dir/log")"
        failed=$((failed + 1))
    else
        said=$(noticed)
        if [ -n "$said" ]; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            said=NOTHING
        fi
    fi
    printf '%-36s %.90s\n' "$name" "$said"
    cp "$dir/kept" "$file"
}

build || {
    cat "$dir/log"
    exit 1
}
said=$(noticed)
if [ -n "$said" ]; then
    echo "without any mutation: $said"
    failed=$((failed + 1))
fi
printf '%-36s %s\n' mutant 'what the test says'

B=block
mutant 'freed space is taken at once' $B/qcow2_alloc.c \
    '/^void q_free_later/,/^}/ s/^    if (!n)$/    q_unalloc(q, first, n); return; if (!n)/'
mutant 'holes before references go' $B/qcow2_alloc.c \
    '/^void q_free_later/,/^}/ s/^    if (!n)$/    (void)hostfile_discard(\&q->f, first << q->cluster_bits, n << q->cluster_bits); if (!n)/'
mutant 'refcounts after entries' $B/qcow2_flush.c \
    '/^static int commit(/,/^}/ { s/rc = q_cache_write_refs(q);/rc = 0;/
        s/batch_done(q, rc);/batch_done(q, rc); if (!rc) rc = q_cache_write_refs(q);/ }'
mutant 'unstable commits free, too' $B/qcow2_flush.c \
    's/if (!rc \&\& whole) {/if (!rc) {/'
mutant 'nothing to flush in place' $B/qcow2_flush.c \
    's/atomic_load(&q->written) == atomic_load(&q->synced)/true/'
mutant 'FUA beside dirty tables' $B/qcow2_io.c \
    's/bool dsync = \*fua && tables_stable(q);/bool dsync = *fua;/'
mutant 'used clusters count as fresh' $B/qcow2_io.c \
    's/(s->fresh && s->got <= s->old.n/(s->got <= s->old.n/'
mutant 'no copy around a write' $B/qcow2_io.c \
    's/if ((!head && !tail) ||/if (s->got || (!head \&\& !tail) ||/'
mutant 'header in two writes' $B/qcow2_header.c \
    '/^int q_header_write/,/^}/ s/rc = q_write_meta(q, 0, buf, len);/{ rc = q_write_meta(q, 0, buf, 40); if (!rc) rc = q_write_meta(q, 40, buf + 40, len - 40); }/'
mutant 'mark of a close stays' $B/qcow2_mark.c \
    '/^int q_mark_clear/,/^}/ s/rc = q_write_meta(q, q->mark, none, sizeof(none));/rc = 0 * none[0];/'
mutant 'no recovery at open' $B/qcow2_check.c \
    '/^int q_recover/,/^}/ s/    if (clean)/    if (clean || true)/'
mutant 'snapshot leaves copied flags' $B/qcow2_snapop.c \
    's/want = copied ? entry | Q_COPIED : entry & ~Q_COPIED;/want = copied ? entry | Q_COPIED : entry;/'
mutant 'snapshot counts after it is live' $B/qcow2_snapop.c \
    '/^static int snap_create_frozen/,/^}/ { s/rc = do_tree(q, TREE_SHARE/rc = 0 * !do_tree(q, TREE_MEASURE/
        s/rc = drop_table(q, old.first, old.n);/rc = do_tree(q, TREE_SHARE, q->h.l1_off, q->h.l1_size, NULL) ? -5 : drop_table(q, old.first, old.n);/ }'
mutant 'restore counts after the switch' $B/qcow2_snapop.c \
    '/^static int apply_locked/,/^}/ { s/rc = do_tree(q, TREE_SHARE, s->l1_off, n, NULL);/rc = 0;/
        s/rc = q_sync(q, "restore");/rc = q_sync(q, "restore") ? -5 : do_tree(q, TREE_SHARE, off, n, NULL);/ }'
mutant 'deletion counts before it' $B/qcow2_snapop.c \
    '/^static int delete_locked/,/^}/ { s/rc = switch_list(/rc = do_tree(q, TREE_DROP, gone.l1_off, gone.l1_size, NULL) ? -5 : switch_list(/
        s/rc = do_tree(q, TREE_DROP, gone.l1_off, gone.l1_size, NULL);/rc = 0;/ }'
mutant 'list is live before it is stable' $B/qcow2_snapop.c \
    '/^static int switch_list/,/^}/ s/rc = q_flush_frozen(q);/rc = 0;/'
mutant 'larger L1 is live before it is stable' $B/qcow2_resize.c \
    '/^static int grow_l1/,/^}/ s/rc = q_flush_frozen(q);/rc = 0;/'
mutant 'rest of the last cluster shows' $B/qcow2_resize.c \
    's/rc = q_zero_tail(q);/rc = 0;/'
mutant 'compact: references before copies' $B/qcow2_compact.c \
    '/^static int move_kind/,/^}/ { 0,/rc = q_flush_frozen(q);/ { /rc = copy_region/,/rc = q_flush/ s/rc = q_flush_frozen(q);/rc = 0;/ } }'
mutant 'compact: frees before it is stable' $B/qcow2_compact.c \
    '/^static int move_kind/,/^}/ { /rc = walk_all/,/^}/ s/rc = q_flush_frozen(q);/rc = 0;/ }'
mutant 'settings over those that count' vmfile/slots.c \
    's/s.offset + s.slot\[!which\]/s.offset + s.slot[which]/'
mutant 'states are not counted' $B/qcow2_state.c \
    's/    q_cache_drop(q, \*off, q->cluster_size);/    q_unalloc(q, first, 1);/'
mutant 'the table of a state is not written' $B/qcow2_state.c \
    's/return rc ? rc : write_cluster(q, table, entry);/memset(table, 0, q->cluster_size); return rc ? rc : write_cluster(q, table, entry);/'
mutant 'two disks: the main one first' vmfile/vmsnap.c \
    '/^static int create_all/,/^}/ { s/    unsigned made = 0;/    unsigned made = 0; int first = qcow2_snap_create(vf->q, s, NULL, err);/
        s/    int rc = 0;/    int rc = first;/
        s/rc = qcow2_snap_create(vf->q, s, NULL, err);/rc = 0;/ }'
mutant 'two disks: deleted in a wrong order' vmfile/vmsnap_change.c \
    '/^static int delete_now/,/^}/ s/    rc = qcow2_snap_delete(vf->q, id, err);/    delete_others(vf, id); rc = qcow2_snap_delete(vf->q, id, err);/'
mutant 'variables: the copy that counts' vmfile/vmvars.c \
    's/rc = write_copy(q, !c.current,/rc = write_copy(q, c.current,/'
mutant 'variables: not stable at the end' vmfile/vmvars.c \
    's/return rc < 0 ? rc : qcow2_ext_sync(q);/return rc;/'
mutant 'variables: only what is in the first pages' vmfile/vmvars.c \
    's/memset(&all, 1, sizeof(all));/memset(\&all, 0, sizeof(all)); all.page[0] = true;/'
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
