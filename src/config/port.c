#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/vmconf.h"

/* One of 1 to 65535 at the head of text; NULL if there is none. */
static const char *take_port(const char *text, uint16_t *port)
{
    unsigned val = 0;
    const char *p = text;

    while (*p >= '0' && *p <= '9' && p - text < 6)
        val = val * 10 + (unsigned)(*p++ - '0');
    if (p == text || val < 1 || val > 65535)
        return NULL;
    *port = (uint16_t)val;
    return p;
}

/* "ADDR:", "[ADDR]:", or nothing, which is this host alone. NULL if it is
 * wrong. */
static const char *take_address(const char *text, struct vmconf_port *p)
{
    bool bracket = *text == '[';
    const char *from = text + bracket;
    const char *first = strchr(text, ':');
    const char *end = bracket ? strchr(text, ']') : first;
    size_t len;

    if (!bracket && (!first || !strchr(first + 1, ':'))) {
        (void)strcpy(p->address, "127.0.0.1");
        return text;
    }
    len = end ? (size_t)(end - from) : sizeof(p->address);
    if (len >= sizeof(p->address))
        return NULL;
    memcpy(p->address, from, len);
    p->address[len] = '\0';
    p->ip6 = bracket;
    end += bracket;
    return *end == ':' ? end + 1 : NULL;
}

static bool address_is_fine(const struct vmconf_port *p)
{
    uint8_t buf[sizeof(struct in6_addr)];

    return inet_pton(p->ip6 ? AF_INET6 : AF_INET, p->address, buf) == 1;
}

int vmconf_parse_port(const char *text, struct vmconf_port *port,
                      struct err *err)
{
    struct vmconf_port p = {.udp = false};
    const char *at = take_address(text, &p);

    at = at ? take_port(at, &p.host) : NULL;
    at = at && *at == ':' ? take_port(at + 1, &p.guest) : NULL;
    if (at && strcmp(at, "/udp") == 0)
        p.udp = true;
    else if (at && *at && strcmp(at, "/tcp") != 0)
        at = NULL;
    if (!at || !address_is_fine(&p))
        return err_set(err, -EINVAL,
                       "'%.60s' is not [ADDRESS:]HOST-PORT:GUEST-PORT[/udp]",
                       text);
    *port = p;
    return 0;
}

bool vmconf_same_port(const struct vmconf_port *a, const struct vmconf_port *b)
{
    return a->host == b->host && a->udp == b->udp &&
           strcmp(a->address, b->address) == 0;
}

void vmconf_print_port(const struct vmconf_port *p, char text[VMCONF_PORT_TEXT])
{
    (void)snprintf(text, VMCONF_PORT_TEXT, "%s%s%s:%u:%u%s", p->ip6 ? "[" : "",
                   p->address, p->ip6 ? "]" : "", p->host, p->guest,
                   p->udp ? "/udp" : "");
}

int vmconf_parse_mac(const char *text, uint8_t mac[6])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t out[6] = {0};

    for (unsigned i = 0; i < 18; i++) {
        char c = text[i];
        const char *d = NULL;

        if (i == 17 ? c != '\0' : i % 3 == 2 && c != ':')
            return -EINVAL;
        if (i % 3 == 2)
            continue;
        if (c)
            d = strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c);
        if (!d)
            return -EINVAL;
        out[i / 3] = (uint8_t)(out[i / 3] << 4 | (d - digits));
    }
    if (out[0] & 1)
        return -EINVAL;
    memcpy(mac, out, sizeof(out));
    return 0;
}
