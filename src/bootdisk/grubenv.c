#include "bootdisk/grubenv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char signature[] = "# GRUB Environment Block\n";

/* One line up to its newline, without backslashes, into line; what is behind
 * it. */
static const char *take_line(const char *p, const char *end, char *line)
{
    for (; p < end && *p != '\n'; p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
        *line++ = *p;
    }
    *line = '\0';
    return p < end ? p + 1 : p;
}

/* A line without "=" is none of GRUB's; it skips it, too. */
static int set_line(struct vars *v, char *line)
{
    char *value = strchr(line, '=');

    if (!value || line[0] == '#')
        return 0;
    *value++ = '\0';
    return vars_set(v, line, value);
}

int grubenv_load(const char *text, size_t len, struct vars *v)
{
    const char *p = text + sizeof(signature) - 1, *end = text + len;
    char *line;
    int rc = 0;

    if (len < sizeof(signature) - 1 || len > GRUBENV_MAX ||
        memcmp(text, signature, sizeof(signature) - 1) != 0)
        return -EINVAL;
    line = malloc(len + 1);
    if (!line)
        return -ENOMEM;
    while (rc == 0 && p < end) {
        p = take_line(p, end, line);
        rc = set_line(v, line);
    }
    free(line);
    return rc;
}
