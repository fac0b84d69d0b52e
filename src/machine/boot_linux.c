/*
 * bzImage by the Linux boot protocol (Linux: Documentation/arch/x86/boot.rst).
 * Kernels that have a 64-bit entry are started there; older and 32-bit ones at
 * their 32-bit entry. The real-mode part never runs: the zero page is filled
 * here, with the memory map and the ACPI root pointer in it.
 */
#include "machine/boot_linux.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "machine/boot.h"
#include "machine/boot_cpu.h"
#include "machine/bzimage_sum.h"

/* Offsets in the zero page (struct boot_params) */
enum {
    BP_VIDEO_MODE = 0x006, /* struct screen_info, at 0 */
    BP_VIDEO_COLUMNS = 0x007,
    BP_VIDEO_LINES = 0x00e,
    BP_VIDEO_IS_VGA = 0x00f,
    BP_VIDEO_POINTS = 0x010,
    BP_ACPI_RSDP = 0x070,
    BP_E820_ENTRIES = 0x1e8,
    BP_HEADER = 0x1f1,
    BP_E820_TABLE = 0x2d0,
    BP_SIZE = 0x1000,
    E820_ENTRY_SIZE = 20
};

/* Offsets in the setup header; the same in the file and in the zero page */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200,
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_KERNEL_VERSION = 0x20e,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PAYLOAD_OFFSET = 0x248,
    HDR_PAYLOAD_LENGTH = 0x24c,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x264 /* of what is read here */
};

#define BOOT_FLAG        0xaa55u
#define LOADED_HIGH      0x01u
#define XLF_KERNEL_64    0x0001u
#define LOADER_UNDEFINED 0xffu

enum { SECTOR = 512, DEFAULT_SETUP_SECTS = 4 };

#define LOAD_ADDRESS   0x100000u
#define ENTRY64_OFFSET 0x200u

bool boot_linux_probe(const uint8_t *buf, size_t len)
{
    return len >= HDR_MAGIC + 4 && memcmp(buf + HDR_MAGIC, "HdrS", 4) == 0;
}

/* The header ends where the jump over it at 0x200 goes; what is behind that
 * does not belong into the zero page. */
static int find_header(struct linux_image *img, const uint8_t *buf, size_t len,
                       struct err *err)
{
    size_t end = HDR_MAGIC + (size_t)buf[HDR_JUMP + 1];

    if (end < HDR_CMDLINE_SIZE + 4 || end > BP_E820_TABLE || end > len)
        return err_set(err, -EINVAL,
                       "it is a damaged bzImage (setup header of %zu bytes)",
                       end - BP_HEADER);
    img->header = buf + BP_HEADER;
    img->header_len = end - BP_HEADER;
    return 0;
}

static int find_kernel(struct linux_image *img, const uint8_t *buf, size_t len,
                       struct err *err)
{
    unsigned sects = buf[HDR_SETUP_SECTS];
    size_t setup;
    uint64_t size = (uint64_t)get_le32(buf + HDR_SYSSIZE) * 16;

    if (sects == 0)
        sects = DEFAULT_SETUP_SECTS;
    setup = (sects + 1) * (size_t)SECTOR;
    /* The length is in units of 16 bytes, which programs that are no Linux do
     * not always fill; those pack nothing. */
    if (setup < len && size > len - setup && size - (len - setup) < 16 &&
        (img->version < 0x0208 || get_le32(buf + HDR_PAYLOAD_LENGTH) == 0))
        size = len - setup;
    if (setup >= len || size > len - setup)
        return err_set(err, -EINVAL,
                       "it is a truncated bzImage: %zu of %" PRIu64 " bytes",
                       len, setup + size);
    if (size < ENTRY64_OFFSET + 16)
        return err_set(err, -EINVAL, "it is a damaged bzImage (no code)");
    img->kernel = buf + setup;
    img->kernel_len = (size_t)size;
    return 0;
}

/* The first bytes of what kernels are packed with (Linux: scripts/
 * Makefile.lib); ELF for one that is not packed. */
static bool is_packed(const uint8_t *p, size_t len)
{
    static const struct {
        const char *magic;
        size_t len;
    } formats[] = {{"\x1f\x8b", 2},
                   {"BZh", 3},
                   {"\x5d\0\0", 3},
                   {"\xfd\x37zXZ", 5},
                   {"\x89LZO", 4},
                   {"\x02\x21\x4c\x18", 4},
                   {"\x28\xb5\x2f\xfd", 4},
                   {"\x7f"
                    "ELF",
                    4}};

    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (len >= formats[i].len &&
            memcmp(p, formats[i].magic, formats[i].len) == 0)
            return true;
    return false;
}

/*
 * Whether the image ends with a checksum: since 2.08 of the protocol, up to
 * Linux 6.14. The version is text ("6.1.0-56-amd64 (...) ..."); images of other
 * projects, whose text is something else, are not checked.
 */
static bool has_checksum(const struct linux_image *img, const uint8_t *buf,
                         size_t len)
{
    size_t at = SECTOR + (size_t)get_le16(buf + HDR_KERNEL_VERSION);
    unsigned number[2] = {0};

    if (img->version < 0x0208 || at == SECTOR)
        return false;
    for (unsigned i = 0; i < 2; i++, at++) {
        size_t first = at;

        for (; at < len && at < first + 3 && isdigit(buf[at]); at++)
            number[i] = number[i] * 10 + (buf[at] - (unsigned)'0');
        if (at == first || at >= len || (i == 0 && buf[at] != '.'))
            return false;
    }
    return number[0] < 6 || (number[0] == 6 && number[1] < 15);
}

static int check_sum(const struct linux_image *img, const uint8_t *buf,
                     size_t len, struct err *err)
{
    size_t end = (size_t)(img->kernel - buf) + img->kernel_len;

    if (has_checksum(img, buf, len) && !bzimage_sum_ok(buf, end))
        return err_set(err, -EINVAL,
                       "it is a damaged bzImage (its checksum does not match)");
    return 0;
}

/* Since 2.08 the header says where the packed kernel is. */
static int check_payload(const struct linux_image *img, const uint8_t *buf,
                         struct err *err)
{
    uint64_t off, len;

    if (img->version < 0x0208)
        return 0;
    off = get_le32(buf + HDR_PAYLOAD_OFFSET);
    len = get_le32(buf + HDR_PAYLOAD_LENGTH);
    if (off > img->kernel_len || len > img->kernel_len - off)
        return err_set(err, -EINVAL,
                       "it is a damaged bzImage (packed kernel outside the "
                       "image)");
    if (len > 0 && !is_packed(img->kernel + off, (size_t)len))
        return err_set(err, -EINVAL,
                       "it is a damaged bzImage (packed kernel of no known "
                       "format)");
    return 0;
}

static int check_version(struct linux_image *img, const uint8_t *buf,
                         size_t len, struct err *err)
{
    if (len < HDR_END || get_le16(buf + HDR_BOOT_FLAG) != BOOT_FLAG)
        return err_set(err, -EINVAL,
                       "it is a damaged or truncated bzImage (no boot flag)");
    img->version = get_le16(buf + HDR_VERSION);
    if (img->version < 0x0206)
        return err_set(err, -EINVAL,
                       "its boot protocol %u.%02u is too old: 2.06 is needed",
                       img->version >> 8, img->version & 0xffu);
    if (!(buf[HDR_LOADFLAGS] & LOADED_HIGH))
        return err_set(err, -EINVAL,
                       "it is a zImage, which is loaded below 1 MiB: build a "
                       "bzImage");
    return 0;
}

/* Protocols before 2.10 say neither where the kernel wants to be nor how much
 * it needs; then it unpacks itself near where it is. */
static void read_needs(struct linux_image *img, const uint8_t *buf)
{
    img->initrd_max = get_le32(buf + HDR_INITRD_ADDR_MAX);
    img->cmdline_max = get_le32(buf + HDR_CMDLINE_SIZE);
    img->pref_address = LOAD_ADDRESS;
    img->init_size = (uint64_t)img->kernel_len * 4;
    if (img->version >= 0x020a && img->header_len >= HDR_END - BP_HEADER) {
        img->pref_address = get_le64(buf + HDR_PREF_ADDRESS);
        img->init_size = get_le32(buf + HDR_INIT_SIZE);
    }
    img->entry64 = img->version >= 0x020c &&
                   (get_le16(buf + HDR_XLOADFLAGS) & XLF_KERNEL_64);
}

int boot_linux_parse(struct linux_image *img, const uint8_t *buf, size_t len,
                     struct err *err)
{
    int rc;

    *img = (struct linux_image){0};
    rc = check_version(img, buf, len, err);
    if (rc < 0)
        return rc;
    rc = find_header(img, buf, len, err);
    if (rc < 0)
        return rc;
    rc = find_kernel(img, buf, len, err);
    if (rc < 0)
        return rc;
    read_needs(img, buf);
    rc = check_payload(img, buf, err);
    if (rc < 0)
        return rc;
    return check_sum(img, buf, len, err);
}

/*
 * The image goes to 1 MiB. It moves itself to the end of the area of init_size
 * bytes at its preferred address and unpacks from there, so all memory up to
 * the end of that area is taken.
 */
static int load_kernel(struct bootmem *bm, const struct linux_image *img,
                       gpa_t *end, struct err *err)
{
    uint64_t need = 0;
    int rc;

    if (__builtin_add_overflow(img->pref_address, img->init_size, &need) ||
        img->pref_address >= PC_4G)
        return err_set(err, -EINVAL,
                       "it is a damaged bzImage (wants to be at 0x%" PRIx64 ")",
                       img->pref_address);
    if (need < LOAD_ADDRESS + (uint64_t)img->kernel_len)
        need = LOAD_ADDRESS + (uint64_t)img->kernel_len;
    if (need > bm->layout->low_end)
        return err_set(err, -ENOSPC,
                       "it needs %" PRIu64 " MiB of memory to start, but has "
                       "%" PRIu64 " MiB: give it more with --memory",
                       (need >> 20) + 1, bm->layout->low_end >> 20);
    rc =
        bootmem_claim(bm, LOAD_ADDRESS, need - LOAD_ADDRESS, "the kernel", err);
    if (rc < 0)
        return rc;
    *end = need;
    return bootmem_load(bm, LOAD_ADDRESS, img->kernel, img->kernel_len,
                        "the kernel", err);
}

static int load_cmdline(struct bootmem *bm, const struct boot_source *src,
                        const struct linux_image *img, gpa_t *at,
                        struct err *err)
{
    size_t len = strlen(src->cmdline);
    int rc;

    if (len > img->cmdline_max)
        return err_set(err, -EINVAL,
                       "the command line of %zu bytes is longer than the "
                       "kernel's limit of %" PRIu32,
                       len, img->cmdline_max);
    rc = bootmem_place_low(bm, len + 1, "the command line", at, err);
    if (rc < 0)
        return rc;
    return bootmem_load(bm, *at, src->cmdline, len + 1, "the command line",
                        err);
}

static void put_e820(uint8_t *zero_page, const struct memlayout *ml)
{
    uint8_t *p = zero_page + BP_E820_TABLE;

    for (unsigned i = 0; i < ml->nr_e820; i++, p += E820_ENTRY_SIZE) {
        put_le64(p, ml->e820[i].start);
        put_le64(p + 8, ml->e820[i].len);
        put_le32(p + 16, ml->e820[i].type);
    }
    zero_page[BP_E820_ENTRIES] = (uint8_t)ml->nr_e820;
}

/* As vga_set_text_mode leaves it. */
static void put_screen(uint8_t *zero_page)
{
    zero_page[BP_VIDEO_MODE] = 3;
    zero_page[BP_VIDEO_COLUMNS] = 80;
    zero_page[BP_VIDEO_LINES] = 25;
    zero_page[BP_VIDEO_IS_VGA] = 1;
    put_le16(zero_page + BP_VIDEO_POINTS, 16);
}

static int load_zero_page(struct bootmem *bm, const struct boot_source *src,
                          const struct linux_image *img, gpa_t initrd,
                          gpa_t *out, struct err *err)
{
    uint8_t page[BP_SIZE] = {0};
    gpa_t cmdline = 0;
    int rc = load_cmdline(bm, src, img, &cmdline, err);

    if (rc < 0)
        return rc;
    rc = bootmem_place_low(bm, sizeof(page), "the zero page", out, err);
    if (rc < 0)
        return rc;
    memcpy(page + BP_HEADER, img->header, img->header_len);
    page[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    put_le32(page + HDR_CODE32_START, LOAD_ADDRESS);
    put_le32(page + HDR_CMD_LINE_PTR, (uint32_t)cmdline);
    if (src->initrd) {
        put_le32(page + HDR_RAMDISK_IMAGE, (uint32_t)initrd);
        put_le32(page + HDR_RAMDISK_SIZE, (uint32_t)src->initrd_len);
    }
    if (src->vga)
        put_screen(page);
    put_le64(page + BP_ACPI_RSDP, src->rsdp);
    put_e820(page, bm->layout);
    return bootmem_load(bm, *out, page, sizeof(page), "the zero page", err);
}

int boot_linux_load(struct bootmem *bm, const struct boot_source *src,
                    struct x86_state *st, struct err *err)
{
    struct linux_image img;
    struct boot_range range = {.high = true};
    gpa_t initrd = 0, zero_page = 0;
    int rc = boot_linux_parse(&img, src->kernel, src->kernel_len, err);

    if (rc < 0)
        return rc;
    rc = load_kernel(bm, &img, &range.min, err);
    if (rc < 0)
        return rc;
    range.end = (gpa_t)img.initrd_max + 1;
    rc = boot_load_initrd(bm, src, &range, &initrd, err);
    if (rc < 0)
        return rc;
    rc = load_zero_page(bm, src, &img, initrd, &zero_page, err);
    if (rc < 0)
        return rc;
    st->gpr[X86_RSI] = zero_page;
    if (img.entry64)
        return boot_cpu_long(bm, st, LOAD_ADDRESS + ENTRY64_OFFSET, err);
    return boot_cpu_protected(bm, st, LOAD_ADDRESS, err);
}
