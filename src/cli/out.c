#include "cli/out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CELL = 256, MAX_COLUMNS = 32 };

const char *out_size(uint64_t bytes, char buf[OUT_SIZE])
{
    static const char letters[] = "KMGTPE";
    uint64_t tenths = bytes * 10;
    size_t n = 0;

    if (bytes > UINT64_MAX / 16 || bytes < 1024) {
        (void)snprintf(buf, OUT_SIZE, "%" PRIu64 "%s",
                       bytes < 1024 ? bytes : bytes >> 60,
                       bytes < 1024 ? "" : "E");
        return buf;
    }
    for (tenths = (tenths + 512) / 1024; tenths >= 10240; n++)
        tenths = (tenths + 512) / 1024;
    if (tenths % 10 == 0 || tenths >= 1000)
        (void)snprintf(buf, OUT_SIZE, "%" PRIu64 "%c", tenths / 10, letters[n]);
    else
        (void)snprintf(buf, OUT_SIZE, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10,
                       tenths % 10, letters[n]);
    return buf;
}

const char *out_time(uint64_t seconds, char buf[OUT_TIME])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&t, &tm) ||
        strftime(buf, OUT_TIME, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        (void)snprintf(buf, OUT_TIME, "?");
    return buf;
}

static void print_age(const char *stamp, char *cell)
{
    static const struct {
        int64_t seconds;
        char letter;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {0, 's'}};
    struct tm tm = {.tm_isdst = 0};
    int64_t age;

    cell[0] = '\0';
    if (!stamp || !strptime(stamp, "%Y-%m-%dT%H:%M:%SZ", &tm))
        return;
    age = (int64_t)time(NULL) - (int64_t)timegm(&tm);
    age = age < 0 ? 0 : age;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (age >= units[i].seconds) {
            int64_t unit = units[i].seconds ? units[i].seconds : 1;

            (void)snprintf(cell, CELL, "%" PRId64 "%c", age / unit,
                           units[i].letter);
            return;
        }
}

/* --- Cells ------------------------------------------------------------------
 */

static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void out_text(FILE *to, const char *text)
{
    for (; *text; text++)
        (void)fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text,
                    to);
}

json_t *out_json_text(const char *text)
{
    json_t *v = json_string(text);
    char *plain;

    if (v || !text)
        return v ? v : json_null();
    plain = strdup(text);
    for (char *p = plain; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    v = plain ? json_string(plain) : json_null();
    free(plain);
    return v;
}

static const json_t *member(const json_t *object, const char *key)
{
    const char *dot = strchr(key, '.');
    char first[64];

    if (!dot)
        return json_object_get(object, key);
    (void)snprintf(first, sizeof(first), "%.*s", (int)(dot - key), key);
    return json_object_get(json_object_get(object, first), dot + 1);
}

static void print_any(const json_t *v, char *cell)
{
    char *text;

    if (json_is_string(v)) {
        (void)snprintf(cell, CELL, "%s", json_string_value(v));
        return;
    }
    text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)snprintf(cell, CELL, "%s", text ? text : "?");
    free(text);
}

static void print_cell(const json_t *row, const struct column *c, char *cell)
{
    const json_t *v = member(row, c->key);

    cell[0] = '\0';
    if (!v || json_is_null(v))
        return;
    switch (c->kind) {
    case COLUMN_SIZE:
        (void)out_size((uint64_t)json_integer_value(v), cell);
        break;
    case COLUMN_AGE: print_age(json_string_value(v), cell); break;
    case COLUMN_FLAG:
        (void)snprintf(cell, CELL, "%s", json_is_true(v) ? "yes" : "");
        break;
    case COLUMN_TEXT:
    case COLUMN_NUMBER: print_any(v, cell); break;
    }
    clean(cell);
}

/* --- Lists ------------------------------------------------------------------
 */

static bool is_right(const struct column *c)
{
    return c->kind == COLUMN_NUMBER || c->kind == COLUMN_SIZE ||
           c->kind == COLUMN_AGE;
}

static void print_field(const struct column *c, const char *text, int width,
                        bool last)
{
    if (is_right(c) && !(last && !*text))
        (void)printf("%*s", width, text);
    else
        (void)printf("%-*s", last ? 0 : width, text);
    (void)fputs(last ? "\n" : "  ", stdout);
}

static void print_table(const json_t *rows, const struct column *columns,
                        size_t nr)
{
    int width[MAX_COLUMNS];
    char cell[CELL];

    for (size_t c = 0; c < nr; c++)
        width[c] = (int)strlen(columns[c].title);
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t c = 0; c < nr; c++) {
            print_cell(json_array_get(rows, i), &columns[c], cell);
            if ((int)strlen(cell) > width[c])
                width[c] = (int)strlen(cell);
        }
    for (size_t c = 0; c < nr; c++)
        print_field(&columns[c], columns[c].title, width[c], c + 1 == nr);
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t c = 0; c < nr; c++) {
            print_cell(json_array_get(rows, i), &columns[c], cell);
            print_field(&columns[c], cell, width[c], c + 1 == nr);
        }
}

static void print_json(const json_t *v, size_t flags)
{
    (void)json_dumpf(v, stdout, flags);
    (void)putchar('\n');
}

static void print_name(const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));

    out_text(stdout, name ? name : "");
    (void)putchar('\n');
}

void out_list(const struct args *a, json_t *rows, const struct column *columns,
              size_t nr)
{
    switch (a->format) {
    case FORMAT_TABLE:
        if (json_array_size(rows))
            print_table(rows, columns, nr < MAX_COLUMNS ? nr : MAX_COLUMNS);
        break;
    case FORMAT_JSON: print_json(rows, JSON_INDENT(2)); break;
    case FORMAT_JSONL:
        for (size_t i = 0; i < json_array_size(rows); i++)
            print_json(json_array_get(rows, i), JSON_COMPACT);
        break;
    case FORMAT_NAME:
        for (size_t i = 0; i < json_array_size(rows); i++)
            print_name(json_array_get(rows, i));
        break;
    }
    json_decref(rows);
}

void out_object(const struct args *a, json_t *object,
                const struct column *columns, size_t nr)
{
    char cell[CELL];

    switch (a->format) {
    case FORMAT_TABLE:
        for (size_t c = 0; c < nr; c++) {
            print_cell(object, &columns[c], cell);
            if (*cell)
                (void)printf("%-14s %s\n", columns[c].title, cell);
        }
        break;
    case FORMAT_JSON: print_json(object, JSON_INDENT(2)); break;
    case FORMAT_JSONL: print_json(object, JSON_COMPACT); break;
    case FORMAT_NAME: print_name(object); break;
    }
    json_decref(object);
}

void out_done(const struct args *a, const char *name, const char *fmt, ...)
{
    va_list ap;
    json_t *v;

    if (args_json(a)) {
        v = json_pack("{s:o}", "name", out_json_text(name));
        print_json(v, JSON_COMPACT);
        json_decref(v);
        return;
    }
    if (a->quiet || a->format == FORMAT_NAME) {
        (void)printf("%s\n", name);
        return;
    }
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
}
