#include "fetch/sum.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#include "base/fdio.h"

enum { PIECE = 1 << 20 };

static size_t length(enum sum_kind kind)
{
    return kind == SUM_SHA256 ? SHA256_DIGEST_SIZE : SHA512_DIGEST_SIZE;
}

/* --- As text ----------------------------------------------------------------
 */

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *p =
        c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

    return p ? (int)(p - digits) : -1;
}

int sum_parse(const char *hex, size_t len, struct sum *out)
{
    const size_t short_one = SHA256_DIGEST_SIZE;
    struct sum s = {.kind = len == 2 * short_one ? SUM_SHA256 : SUM_SHA512};

    if (len != 2 * length(s.kind))
        return -EINVAL;
    for (size_t i = 0; i < len; i += 2) {
        int high = digit(hex[i]), low = digit(hex[i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        s.bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    *out = s;
    return 0;
}

void sum_print(const struct sum *s, char text[SUM_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = length(s->kind);

    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[s->bytes[i] >> 4];
        text[2 * i + 1] = digits[s->bytes[i] & 15];
    }
    text[2 * n] = '\0';
}

bool sum_same(const struct sum *a, const struct sum *b)
{
    return a->kind == b->kind &&
           memcmp(a->bytes, b->bytes, length(a->kind)) == 0;
}

/* --- Of bytes ---------------------------------------------------------------
 */

struct state {
    enum sum_kind kind;
    union {
        struct sha256_ctx sha256;
        struct sha512_ctx sha512;
    } u;
};

static void begin(struct state *st, enum sum_kind kind)
{
    st->kind = kind;
    if (kind == SUM_SHA256)
        sha256_init(&st->u.sha256);
    else
        sha512_init(&st->u.sha512);
}

static void add(struct state *st, const void *buf, size_t len)
{
    if (st->kind == SUM_SHA256)
        sha256_update(&st->u.sha256, len, buf);
    else
        sha512_update(&st->u.sha512, len, buf);
}

static void end(struct state *st, struct sum *out)
{
    *out = (struct sum){.kind = st->kind};
    if (st->kind == SUM_SHA256)
        sha256_digest(&st->u.sha256, SHA256_DIGEST_SIZE, out->bytes);
    else
        sha512_digest(&st->u.sha512, SHA512_DIGEST_SIZE, out->bytes);
}

void sum_of(const void *buf, size_t len, enum sum_kind kind, struct sum *out)
{
    struct state st;

    begin(&st, kind);
    add(&st, buf, len);
    end(&st, out);
}

int sum_of_fd(int fd, enum sum_kind kind, struct sum *out)
{
    uint8_t *buf = malloc(PIECE);
    struct state st;
    uint64_t off = 0;
    ssize_t n;

    if (!buf)
        return -ENOMEM;
    begin(&st, kind);
    while ((n = fd_pread_full(fd, buf, PIECE, off)) > 0) {
        add(&st, buf, (size_t)n);
        off += (uint64_t)n;
    }
    free(buf);
    if (n < 0)
        return (int)n;
    end(&st, out);
    return 0;
}

/* --- Lists ------------------------------------------------------------------
 */

static bool is_name(const char *text, size_t len, const char *name)
{
    if (len > 2 && memcmp(text, "./", 2) == 0) {
        text += 2;
        len -= 2;
    }
    return len == strlen(name) && memcmp(text, name, len) == 0;
}

/* "SUM  NAME" or "SUM *NAME" */
static bool plain_line(const char *line, size_t len, const char *name,
                       struct sum *out)
{
    size_t hex = 0;

    while (hex < len && digit(line[hex]) >= 0)
        hex++;
    return len > hex + 2 && line[hex] == ' ' &&
           (line[hex + 1] == ' ' || line[hex + 1] == '*') &&
           is_name(line + hex + 2, len - hex - 2, name) &&
           sum_parse(line, hex, out) == 0;
}

/* "SHA256 (NAME) = SUM" */
static bool tagged_line(const char *line, size_t len, const char *name,
                        struct sum *out)
{
    static const char open[] = " (", close[] = ") = ";
    size_t hex = 0, head = strlen("SHA256") + strlen(open), tail;

    if (len < head || (memcmp(line, "SHA256 (", head) != 0 &&
                       memcmp(line, "SHA512 (", head) != 0))
        return false;
    while (hex < len && digit(line[len - hex - 1]) >= 0)
        hex++;
    tail = hex + strlen(close);
    return len >= head + tail &&
           memcmp(line + len - tail, close, strlen(close)) == 0 &&
           is_name(line + head, len - head - tail, name) &&
           sum_parse(line + len - hex, hex, out) == 0;
}

int sum_find(const char *list, size_t len, const char *name, struct sum *out)
{
    const char *p = list, *stop = list + len;

    while (p < stop) {
        const char *eol = memchr(p, '\n', (size_t)(stop - p));
        size_t n = (size_t)((eol ? eol : stop) - p);
        size_t bare = n && p[n - 1] == '\r' ? n - 1 : n;

        if (plain_line(p, bare, name, out) || tagged_line(p, bare, name, out))
            return 0;
        p += n + 1;
        if (!eol)
            break;
    }
    return -ENOENT;
}
