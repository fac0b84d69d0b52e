#include "config/bootorder.h"

#include <errno.h>
#include <string.h>

static const char *const names[BOOTORDER_NR_KINDS] = {[BOOTORDER_DISK] = "disk",
                                                      [BOOTORDER_CD] = "cd",
                                                      [BOOTORDER_FLOPPY] =
                                                          "floppy",
                                                      [BOOTORDER_NET] = "net"};

bool bootorder_names(const struct bootorder *o, enum bootorder_kind kind)
{
    for (unsigned i = 0; i < o->nr; i++)
        if (o->kind[i] == kind)
            return true;
    return false;
}

enum bootorder_kind bootorder_at(const struct bootorder *o, unsigned n)
{
    unsigned kind = 0;

    if (n < o->nr)
        return o->kind[n];
    for (n -= o->nr; kind < BOOTORDER_NR_KINDS - 1; kind++)
        if (!bootorder_names(o, (enum bootorder_kind)kind) && n-- == 0)
            break;
    return (enum bootorder_kind)kind;
}

static int find(const char *word, size_t len)
{
    for (int i = 0; i < BOOTORDER_NR_KINDS; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
            return i;
    return -1;
}

int bootorder_parse(const char *text, const char *what, struct bootorder *o,
                    struct err *err)
{
    struct bootorder all = {.menu = false};
    const char *word = text;

    for (;;) {
        size_t len = strcspn(word, ",");
        int kind = find(word, len);

        if (len == 4 && memcmp(word, "menu", 4) == 0 && !all.menu) {
            all.menu = true;
        } else if (kind >= 0 &&
                   !bootorder_names(&all, (enum bootorder_kind)kind)) {
            all.kind[all.nr++] = (enum bootorder_kind)kind;
        } else {
            return err_set(err, -EINVAL,
                           "%s: '%.80s' is no order to boot in: give disk, cd, "
                           "floppy, net and menu, each once, with commas "
                           "between",
                           what, text);
        }
        if (!word[len])
            break;
        word += len + 1;
    }
    *o = all;
    return 0;
}
