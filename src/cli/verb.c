#include "cli/verb.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/out.h"
#include "cli/status.h"

enum {
    HOME = 1 << GLOBAL_HOME,
    OUTPUT = 1 << GLOBAL_OUTPUT | 1 << GLOBAL_JSON | 1 << GLOBAL_QUIET |
             1 << GLOBAL_VERBOSE,
    COMMON = HOME | OUTPUT,
    ASKS = 1 << GLOBAL_YES,
    SLOW = 1 << GLOBAL_NO_PROGRESS,
    MANY = 256
};

#define OPTIONS(table) table, (int)ARRAY_LEN(table)
#define NO_OPTIONS     NULL, 0

/* Those of a machine, and what is only for one that has a file. */
static const struct vmconf_info run_options[] = {
#define OPTION(field, name, letter, arg, help) {name, letter, arg, help},
#include "config/schema.def"
#undef OPTION
    {"keep-identity", 0, NULL,
     "let a copy of a VM keep the UUID and addresses of its original"},
};
static const struct vmconf_info create_options[] = {
    {"disk", 'd', "WHAT",
     "size of the VM's disk (default 10G); again for a further disk: a size "
     "or a FILE"},
    {"memory", 'm', "SIZE", "memory, in MiB or with K, M, G or T behind it"},
    {"cpus", 'c', "N", "virtual CPUs, 1 to 255"},
    {"cpu", 0, "MODEL", "husk-v3, husk-v2 or host"},
    {"net", 0, "NAME", "network: user (default) or none"},
    {"publish", 'p', "PORTS",
     "let HOST reach a port of the guest: [ADDRESS:]HOST:GUEST[/udp]; may be "
     "given again"},
    {"kernel", 'k', "FILE", "kernel to boot"},
    {"initrd", 'i', "FILE", "initial RAM disk"},
    {"append", 'a', "TEXT", "kernel command line"},
    {"firmware", 0, "NAME", "what starts it: bios, uefi or none"},
    {"bus", 0, "NAME", "where the disk is: virtio or ide"},
    {"iso", 0, "FILE", "image in its CD-ROM drive, or none for an empty one"},
    {"floppy", 0, "FILE", "image in its floppy drive"},
    {"from", 0, "FILE|URL",
     "fill the disk from this image: qcow2 or raw, also compressed (gz, xz, "
     "zst, bz2); other formats as import has them"},
    {"sha256", 0, "SUM", "what the sum of that file must be"},
    {"cloud-init", 0, "FILE", "user data for cloud-init in the image"},
    {"ssh-key", 0, "FILE",
     "a public key that may log in there; may be given again"},
    {"hostname", 0, "NAME", "its name there (default NAME)"},
    {"user", 0, "NAME", "the user to make there (default the image's own)"},
    {"password", 0, "HASH", "the user's password, as openssl passwd -6 has it"},
    {"label", 'l', "KEY=TEXT", "a label; may be given again"},
    {"description", 0, "TEXT", "what it is for"},
};
static const struct vmconf_info list_options[] = {
    {"trash", 0, NULL, "what is in the trash instead"},
    {"label", 'l', "KEY=TEXT", "only VMs with this label"},
};
static const struct vmconf_info delete_options[] = {
    {"purge", 0, NULL, "at once, past the trash"},
};
static const struct vmconf_info recover_options[] = {
    {"as", 0, "NAME", "under another name"},
};
static const struct vmconf_info purge_options[] = {
    {"older", 0, "TIME", "only what was deleted so long ago: 30d, 12h"},
};
static const struct vmconf_info snapshot_options[] = {
    {"message", 'm', "TEXT", "what it is for"},
};
static const struct vmconf_info restore_options[] = {
    {"no-save", 0, NULL, "keep no snapshot of what is there now"},
    {"keep-settings", 0, NULL, "the disks only"},
};
static const struct vmconf_info check_options[] = {
    {"repair", 'r', NULL, "put right what needs no guess"},
};
static const struct vmconf_info export_options[] = {
    {"file", 'o', "FILE", "where to (default NAME and the format's ending)"},
    {"format", 'f', "FORMAT", "qcow2, raw, vmdk, vdi, vhdx or vhd"},
};
static const struct vmconf_info import_options[] = {
    {"format", 'f', "FORMAT",
     "what the file is, if it does not say itself: "
     "raw, qcow2, vmdk, vdi, vhdx or vhd"},
    {"memory", 'm', "SIZE", "memory of the VM"},
    {"cpus", 'c', "N", "virtual CPUs of the VM"},
    {"kernel", 'k', "FILE", "kernel to boot"},
    {"initrd", 'i', "FILE", "initial RAM disk"},
    {"append", 'a', "TEXT", "kernel command line"},
    {"firmware", 0, "NAME", "what starts it: bios, uefi or none"},
    {"bus", 0, "NAME", "where the disk is: virtio or ide"},
};
static const struct vmconf_info drive_options[] = {
    {"drive", 0, "N", "which CD-ROM drive of a running VM: 1 (default) or 2"},
    {"force", 'f', NULL, "also if the guest has locked it"},
};
static const struct vmconf_info key_options[] = {
    {"text", 't', "TEXT",
     "then type this, on a keyboard as it is sold in the USA"},
};
static const struct vmconf_info help_options[] = {
    {"man", 0, NULL, "print the verb's manual page (mdoc)"},
};

const struct verb verbs[NR_VERBS] = {
    {"run", "", "[VM] [OPTION...]",
     "run a VM, or a kernel in a new machine, on this terminal",
     "Ctrl-] ends it. With a VM, its settings say what it has, and options go\n"
     "over them. A VM that was copied gets a new identity when it first runs.",
     OPTIONS(run_options), HOME | ASKS, 0, 1, WORDS_VM, cmd_run},
    {"create", "init", "NAME", "make a VM",
     "NAME is the file NAME.husk in the home folder, or a path. Images from\n"
     "http and https are kept in the folder cache of the home folder, and\n"
     "checked with SHA256SUMS or SHA512SUMS if the server has it beside them.\n"
     "Options for cloud-init are kept as settings: cloud.user and so on.",
     OPTIONS(create_options), COMMON | SLOW | ASKS, 1, 1, WORDS_NONE,
     cmd_create},
    {"list", "ls ps", "[VM...]", "list VMs", "", OPTIONS(list_options), COMMON,
     0, MANY, WORDS_VM, cmd_list},
    {"info", "inspect show", "VM...", "say all about a VM", "", NO_OPTIONS,
     COMMON, 1, MANY, WORDS_VM, cmd_info},
    {"set", "", "VM KEY=VALUE...", "change settings of a VM",
     "disk=SIZE or disk=+SIZE grows the VM's disk, also while it runs. Other\n"
     "changes count from the next start on. KEY= takes a setting away.",
     NO_OPTIONS, COMMON, 2, MANY, WORDS_VM, cmd_set},
    {"get", "", "VM [KEY...]", "print settings of a VM", "", NO_OPTIONS, COMMON,
     1, MANY, WORDS_VM, cmd_get},
    {"edit", "", "VM", "change settings of a VM in an editor",
     "The editor is VISUAL, else EDITOR, else vi. Nothing changes unless all\n"
     "of it is right.",
     NO_OPTIONS, COMMON, 1, 1, WORDS_VM, cmd_edit},
    {"insert", "", "VM FILE", "put a CD image into a VM's CD-ROM drive",
     "Also while it runs; it stays there at the next start.",
     OPTIONS(drive_options), COMMON, 2, 2, WORDS_VM, cmd_insert},
    {"eject", "", "VM", "take the CD image out of a VM's CD-ROM drive",
     "Also while it runs. A drive that the guest has locked tells it that "
     "the\n"
     "button was pressed, and keeps its image unless --force.",
     OPTIONS(drive_options), COMMON, 1, 1, WORDS_VM, cmd_eject},
    {"rename", "mv", "VM NAME", "give a VM another name", "", NO_OPTIONS,
     COMMON, 2, 2, WORDS_VM, cmd_rename},
    {"delete", "rm", "VM|VM@SNAP...", "move VMs to the trash; delete snapshots",
     "Space of a snapshot comes back at once, that of a VM with purge. A\n"
     "snapshot can also be deleted while the VM runs.",
     OPTIONS(delete_options), COMMON | ASKS, 1, MANY, WORDS_VM, cmd_delete},
    {"recover", "undelete", "NAME...", "take VMs out of the trash", "",
     OPTIONS(recover_options), COMMON, 1, MANY, WORDS_NONE, cmd_recover},
    {"purge", "", "[NAME...]", "delete for ever what is in the trash", "",
     OPTIONS(purge_options), COMMON | ASKS, 0, MANY, WORDS_NONE, cmd_purge},
    {"protect", "", "VM...", "let VMs not be deleted", "", NO_OPTIONS, COMMON,
     1, MANY, WORDS_VM, cmd_protect},
    {"unprotect", "", "VM...", "let VMs be deleted", "", NO_OPTIONS, COMMON, 1,
     MANY, WORDS_VM, cmd_unprotect},
    {"port", "", "add|rm|list VM [PORT...]",
     "let this host reach ports of a VM",
     "PORT is [ADDRESS:]HOST:GUEST[/udp]; ADDRESS is 127.0.0.1 unless given.\n"
     "It counts at once if the VM runs, and at each start from then on.",
     NO_OPTIONS, COMMON, 2, MANY, WORDS_NONE, cmd_port},
    {"snapshot", "snap", "VM [SNAP]", "keep a VM's disks as they are now",
     "Also while it runs. The settings are kept, too.",
     OPTIONS(snapshot_options), COMMON, 1, 2, WORDS_VM, cmd_snapshot},
    {"snapshots", "", "VM", "list the snapshots of a VM, as a tree", "",
     NO_OPTIONS, COMMON, 1, 1, WORDS_VM, cmd_snapshots},
    {"restore", "rollback", "VM@SNAP", "bring a VM back to a snapshot",
     "What is there now is kept as a snapshot of its own, unless --no-save.",
     OPTIONS(restore_options), COMMON, 1, 1, WORDS_VM, cmd_restore},
    {"check", "fsck", "VM...", "look for damage in a VM's file", "",
     OPTIONS(check_options), COMMON | SLOW, 1, MANY, WORDS_VM, cmd_check},
    {"compact", "", "VM...", "make a VM's file smaller, snapshots kept", "",
     NO_OPTIONS, COMMON | SLOW, 1, MANY, WORDS_VM, cmd_compact},
    {"import", "", "FILE [NAME]", "make a VM of a disk image",
     "qcow2 and raw are read by husk itself, vmdk, vdi, vhdx and vhd through\n"
     "qemu-img. NAME is the file's unless it is given.",
     OPTIONS(import_options), COMMON | SLOW | ASKS, 1, 2, WORDS_FILE,
     cmd_import},
    {"export", "", "VM|VM@SNAP", "write a VM's disk to an image",
     "Also while it runs: the disk is that of one moment. qcow2 and raw are\n"
     "written by husk itself, the rest through qemu-img. The file has no\n"
     "backing file, and holes where there is nothing.",
     OPTIONS(export_options), COMMON | SLOW, 1, 1, WORDS_VM, cmd_export},
    {"screen", "", "VM", "print the text on a VM's screen",
     "It is that of a VGA in text mode: what a BIOS, a boot loader and old\n"
     "systems show.",
     NO_OPTIONS, COMMON, 1, 1, WORDS_VM, cmd_screen},
    {"key", "sendkey", "VM [KEY...]", "press keys on a VM's keyboard",
     "KEY is a name as QEMU's sendkey has it, or several with hyphens between\n"
     "that are pressed together: a, f12, ret, esc, down, ctrl-alt-delete.",
     OPTIONS(key_options), COMMON, 1, MANY, WORDS_VM, cmd_key},
    {"help", "", "[VERB]", "say what husk can do, or how a verb is used", "",
     OPTIONS(help_options), 0, 0, 1, WORDS_VERB, cmd_help},
    {"completion", "", "bash|zsh|fish", "print completions for a shell", "",
     NO_OPTIONS, 0, 1, 1, WORDS_SHELL, cmd_completion},
    {"version", "", "", "print the version", "", NO_OPTIONS, 0, 0, 0,
     WORDS_NONE, cmd_version},
};

/* Whether name is one of the words of list. */
static bool has_word(const char *list, const char *name)
{
    size_t len = strlen(name);

    while (*list) {
        size_t n = strcspn(list, " ");

        if (n == len && memcmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == ' ');
    }
    return false;
}

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < NR_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0 || has_word(verbs[i].alias, name))
            return &verbs[i];
    return NULL;
}

void say_error(const char *text)
{
    (void)fputs("husk: ", stderr);
    out_text(stderr, text); /* names in it may be anybody's */
    (void)fputc('\n', stderr);
}

int say_no_verb(const char *name)
{
    struct err err;

    (void)err_set(&err, -EINVAL,
                  "there is no verb '%.80s': 'husk help' lists them", name);
    say_error(err.text);
    return STATUS_USAGE;
}
