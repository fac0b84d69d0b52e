#include "vmm/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/screen.h"

/* --- Looking ---------------------------------------------------------------
 */

static json_t *text_or_null(const char *text)
{
    return text ? control_text(text) : json_null();
}

static json_t *disk_status(const struct disk *d)
{
    return json_pack(
        "{s:s, s:o, s:I, s:b, s:o}", "format", d->blk->ops->name, "file",
        text_or_null(d->path), "size", (json_int_t)blk_size(d->blk), "readonly",
        (d->blk->flags & BLK_RDONLY) != 0, "problem", text_or_null(d->problem));
}

static json_t *cd_status(const struct commands *c, unsigned n)
{
    bool open = false, locked = false;

    pc_cd_tray(c->pc, n, &open, &locked);
    return json_pack("{s:o, s:b, s:b}", "file",
                     text_or_null(c->cds->cd[n].path), "open", open, "locked",
                     locked);
}

static const char *state_of(const struct commands *c)
{
    if (c->stuck->waits)
        return "no-space";
    return c->paused ? "paused" : "running";
}

static json_t *ports_status(const struct commands *c)
{
    json_t *all = json_array();
    const struct vmconf_port *ports;
    char text[VMCONF_PORT_TEXT];
    unsigned nr = 0;

    if (!c->network->user)
        return all;
    ports = net_user_ports(c->network->user, &nr);
    for (unsigned i = 0; i < nr; i++) {
        vmconf_print_port(&ports[i], text);
        (void)json_array_append_new(all, json_string(text));
    }
    return all;
}

static int do_status(struct commands *c, json_t **result)
{
    json_t *disks = json_array(), *cds = json_array();

    disks_look(c->disks);
    for (unsigned i = 0; i < c->disks->nr; i++)
        (void)json_array_append_new(disks, disk_status(&c->disks->disk[i]));
    for (unsigned i = 0; i < c->cds->nr; i++)
        (void)json_array_append_new(cds, cd_status(c, i));
    *result = json_pack("{s:s, s:I, s:I, s:I, s:{s:o, s:b}, s:o, s:o, s:o}",
                        "state", state_of(c), "pid", (json_int_t)getpid(),
                        "cpus", (json_int_t)c->cfg->conf->cpus, "memory",
                        (json_int_t)c->cfg->conf->memory, "boots", "text",
                        control_text(c->direct->how), "direct",
                        (int)c->direct->direct, "disks", disks, "cds", cds,
                        "ports", ports_status(c));
    return *result ? 0 : -ENOMEM;
}

/* --- Disks -----------------------------------------------------------------
 */

static int do_resize(struct commands *c, const struct control_msg *msg,
                     struct err *err)
{
    struct blk *blk;
    int rc;

    if (msg->disk >= c->disks->nr)
        return err_set(err, -ENOENT, "resize disk %u: the machine has %u",
                       msg->disk, c->disks->nr);
    blk = c->disks->disk[msg->disk].blk;
    if (blk->flags & BLK_RDONLY)
        return err_set(err, -EROFS, "resize disk %u: it is read-only",
                       msg->disk);
    if (msg->size % 512 || msg->size < blk_size(blk))
        return err_set(err, -EINVAL,
                       "resize disk %u: %llu bytes are less than it has, or no "
                       "multiple of 512: a running machine's disk only grows",
                       msg->disk, (unsigned long long)msg->size);
    rc = blk_resize(blk, msg->size, err);
    if (rc == 0)
        pc_disk_resized(c->pc, msg->disk);
    return rc;
}

/* --- Snapshots -------------------------------------------------------------
 */

/* The CPUs are paused. */
static int snapshot_paused(struct commands *c, const struct control_msg *msg,
                           char *id, struct err *err)
{
    const struct vmm_snapshots *s = c->cfg->snapshots;
    int rc;

    pc_drain_disks(c->pc);
    if (pc_stuck_requests(c->pc))
        return err_set(err, -ENOSPC,
                       "take a snapshot: the host has no space "
                       "left for what the guest writes");
    rc = disks_flush(c->disks, err);
    if (rc < 0)
        return rc;
    return msg->cmd == CONTROL_DISK_LEND
               ? s->lend(s->opaque, id, err)
               : s->create(s->opaque, msg->name, msg->text, err);
}

static int do_snapshot(struct commands *c, const struct control_msg *msg,
                       json_t **result, struct err *err)
{
    const struct vmm_snapshots *s = c->cfg->snapshots;
    char id[VMM_SNAPSHOT_ID] = "";
    int rc;

    if (!s)
        return err_set(err, -ENOTSUP,
                       "take a snapshot: this machine was not "
                       "started from a VM's file");
    if (msg->cmd == CONTROL_DISK_RECLAIM)
        return s->reclaim(s->opaque, err);
    if (msg->cmd == CONTROL_DISK_SNAPSHOT_DELETE) {
        rc = s->remove(s->opaque, msg->name, err);
        *result = rc < 0 ? NULL : json_pack("{s:b}", "waits", rc > 0);
        return rc < 0 ? rc : 0;
    }
    pc_pause(c->pc);
    rc = snapshot_paused(c, msg, id, err);
    pc_resume(c->pc);
    if (rc == 0 && *id)
        *result = json_pack("{s:s}", "id", id);
    return rc;
}

/* --- The machine -----------------------------------------------------------
 */

static int do_pause(struct commands *c)
{
    if (!c->paused)
        pc_pause(c->pc);
    c->paused = true;
    return 0;
}

static int do_resume(struct commands *c)
{
    if (c->stuck->waits)
        stuck_retry(c->stuck);
    if (c->paused)
        pc_resume(c->pc);
    c->paused = false;
    return 0;
}

/* First keys, then text. */
static int do_keys(struct commands *c, const struct control_msg *msg,
                   struct err *err)
{
    int rc = 0;

    if (!msg->keys && !msg->text)
        return err_set(err, -EINVAL,
                       "press keys: say which, as \"keys\" or \"text\"");
    if (msg->keys)
        rc = keyboard_press(c->keyboard, msg->keys, err);
    if (rc == 0 && msg->text)
        rc = keyboard_type(c->keyboard, msg->text, err);
    return rc;
}

int commands_run(void *commands, const struct control_msg *msg, json_t **result,
                 struct err *err)
{
    struct commands *c = commands;

    switch (msg->cmd) {
    case CONTROL_PING: return 0;
    case CONTROL_STATUS: return do_status(c, result);
    case CONTROL_DISK_RESIZE: return do_resize(c, msg, err);
    case CONTROL_DISK_SNAPSHOT:
    case CONTROL_DISK_SNAPSHOT_DELETE:
    case CONTROL_DISK_LEND:
    case CONTROL_DISK_RECLAIM: return do_snapshot(c, msg, result, err);
    case CONTROL_CD_INSERT:
        return cds_change(c->cds, c->pc, msg->drive, msg->file, msg->force,
                          err);
    case CONTROL_CD_EJECT:
        return cds_change(c->cds, c->pc, msg->drive, NULL, msg->force, err);
    case CONTROL_PORT_ADD: return network_publish(c->network, msg->name, err);
    case CONTROL_PORT_REMOVE:
        return network_unpublish(c->network, msg->name, err);
    case CONTROL_PAUSE: return do_pause(c);
    case CONTROL_RESUME: return do_resume(c);
    case CONTROL_QUIT: loop_stop(c->loop, VMM_EXIT_OK); return 0;
    case CONTROL_SCREEN: return screen_json(pc_vga(c->pc), result, err);
    case CONTROL_KEYS: return do_keys(c, msg, err);
    case CONTROL_NR_CMDS: break;
    }
    return err_set(err, -EINVAL, "there is no such command");
}
