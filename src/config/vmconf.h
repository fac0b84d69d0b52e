#ifndef HUSK_CONFIG_VMCONF_H
#define HUSK_CONFIG_VMCONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "config/bootorder.h"

/*
 * What a person can say about a machine, as options with values of text. They
 * are checked here for what they are; whether the host can do it is found out
 * when the machine is made.
 */
enum vmconf_option {
#define OPTION(field, name, letter, arg, help) VMCONF_##field,
#include "config/schema.def"
#undef OPTION
    VMCONF_NR_OPTIONS
};

struct vmconf_info {
    const char *name; /* without dashes */
    char letter;      /* 0 = none */
    const char *arg;  /* what the value is called; NULL = a switch */
    const char *help;
};

extern const struct vmconf_info vmconf_info[VMCONF_NR_OPTIONS];

enum {
    VMCONF_MAX_CPUS = 255,
    VMCONF_MAX_DISKS = 16,
    VMCONF_MAX_CDS = 2,
    VMCONF_MAX_FLOPPIES = 2,
    VMCONF_DISK_SERIAL = 20,
    VMCONF_DISK_FILE = 4096
};

/* What --disk says. */
struct vmconf_disk {
    char file[VMCONF_DISK_FILE]; /* "" = a throw-away disk */
    uint64_t size;               /* of that, in bytes */
    bool qcow2, raw;             /* the format; neither: as the name says */
    bool readonly;
    bool direct; /* cache=none: past the host's page cache */
    bool ide;    /* bus=ide, not virtio */
    char serial[VMCONF_DISK_SERIAL + 1];
};

/* What --publish says. */
enum { VMCONF_PORT_ADDRESS = 46, VMCONF_PORT_TEXT = 80, VMCONF_MAX_PORTS = 64 };

struct vmconf_port {
    char address[VMCONF_PORT_ADDRESS]; /* of the host */
    bool ip6;
    bool udp;
    uint16_t host, guest;
};

enum vmconf_net {
    VMCONF_NET_AUTO, /* user if there is a disk, else none */
    VMCONF_NET_NONE,
    VMCONF_NET_USER
};

enum vmconf_firmware {
    VMCONF_FIRMWARE_AUTO, /* none with a kernel, or if one is found on the
                             disk; else as the disk wants it */
    VMCONF_FIRMWARE_NONE,
    VMCONF_FIRMWARE_BIOS,
    VMCONF_FIRMWARE_UEFI
};

enum vmconf_vga {
    VMCONF_VGA_AUTO, /* if firmware starts the machine */
    VMCONF_VGA_NONE,
    VMCONF_VGA_STD
};

/* Strings are borrowed. */
struct vmconf {
    enum vmconf_firmware firmware;
    struct bootorder boot;
    enum vmconf_vga vga;
    const char *firmware_vars; /* NULL = none */
    const char *kernel, *initrd, *append;
    uint64_t memory; /* bytes */
    unsigned cpus;
    const char *engine, *cpu;
    const char *serial, *console, *debugcon; /* NULL = none */
    const char *gdb;                         /* NULL = no */
    const char *disk[VMCONF_MAX_DISKS];      /* for vmconf_parse_disk */
    unsigned nr_disks;
    const char *iso[VMCONF_MAX_CDS]; /* of each drive; NULL = it is empty */
    unsigned nr_isos;
    const char *floppy[VMCONF_MAX_FLOPPIES];
    unsigned nr_floppies;
    bool vm_disk;        /* there is a disk that no option names: a VM's own */
    const char *control; /* path of a socket, NULL = none */
    enum vmconf_net net;
    const char *mac;                    /* "52:54:00:12:34:56" */
    const char *port[VMCONF_MAX_PORTS]; /* for vmconf_parse_port */
    unsigned nr_ports;
    bool reboot, debug_exit;
};

/* All defaults; there is no kernel. */
void vmconf_init(struct vmconf *conf);

/* Set one option; value is NULL for a switch. -EINVAL with err. */
MUST_CHECK int vmconf_set(struct vmconf *conf, enum vmconf_option opt,
                          const char *value, struct err *err);

/* After all options: is anything missing or in conflict? -EINVAL with err. */
MUST_CHECK int vmconf_check(const struct vmconf *conf, struct err *err);

/* What the options mean, once vmconf_check has passed: NONE if there is a
 * kernel; AUTO if the disk has to be looked at. */
enum vmconf_firmware vmconf_firmware(const struct vmconf *conf);
/* Whether a kernel that is found on the first disk shall be booted before that
 * firmware, or with NONE instead of any. */
bool vmconf_direct(const struct vmconf *conf);

/* "512", "2G", "1048576K" in bytes; MiB without a letter. Refuses everything
 * else, and what does not fit into 64 bits: -EINVAL. */
MUST_CHECK int vmconf_parse_size(const char *text, uint64_t *bytes);

/*
 * "FILE" or a size ("10G", as vmconf_parse_size: a throw-away disk), then
 * options behind commas: format=raw|qcow2, ro, cache=writeback|none,
 * serial=TEXT, bus=virtio|ide. A comma in a file's name is written twice.
 * -EINVAL with err.
 */
MUST_CHECK int vmconf_parse_disk(const char *text, struct vmconf_disk *disk,
                                 struct err *err);

/* "[ADDRESS:]HOST:GUEST[/udp]", where ADDRESS is 127.0.0.1 if it is not given,
 * and in brackets if it is one of IPv6. -EINVAL with err. */
MUST_CHECK int vmconf_parse_port(const char *text, struct vmconf_port *port,
                                 struct err *err);
/* Whether both are the same port of the host. */
bool vmconf_same_port(const struct vmconf_port *a, const struct vmconf_port *b);
void vmconf_print_port(const struct vmconf_port *p,
                       char text[VMCONF_PORT_TEXT]);
/* Six bytes in hexadecimal with colons between, no group's. -EINVAL. */
MUST_CHECK int vmconf_parse_mac(const char *text, uint8_t mac[6]);

/* Whether there is a network card, once vmconf_check has passed. */
bool vmconf_has_net(const struct vmconf *conf);

#endif
