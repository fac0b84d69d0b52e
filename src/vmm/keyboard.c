#include "vmm/keyboard.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

/* A key that comes up at once can be missed by who looks at what is down. The
 * next one waits until the guest can have read this: a BIOS keeps 15 for a
 * program that does not look. */
#define HOLD_NS  40000000ull
#define PAUSE_NS 40000000ull

/* Names as QEMU's sendkey has them, and codes of scan code set 1 (IBM PS/2
 * Technical Reference, "Keyboards (101- and 102-Key)"). */
static const struct {
    const char *name;
    uint16_t code;
} keys[] = {
    {"esc", 0x01},
    {"1", 0x02},
    {"2", 0x03},
    {"3", 0x04},
    {"4", 0x05},
    {"5", 0x06},
    {"6", 0x07},
    {"7", 0x08},
    {"8", 0x09},
    {"9", 0x0a},
    {"0", 0x0b},
    {"minus", 0x0c},
    {"equal", 0x0d},
    {"backspace", 0x0e},
    {"tab", 0x0f},
    {"q", 0x10},
    {"w", 0x11},
    {"e", 0x12},
    {"r", 0x13},
    {"t", 0x14},
    {"y", 0x15},
    {"u", 0x16},
    {"i", 0x17},
    {"o", 0x18},
    {"p", 0x19},
    {"bracket_left", 0x1a},
    {"bracket_right", 0x1b},
    {"ret", 0x1c},
    {"enter", 0x1c},
    {"ctrl", 0x1d},
    {"a", 0x1e},
    {"s", 0x1f},
    {"d", 0x20},
    {"f", 0x21},
    {"g", 0x22},
    {"h", 0x23},
    {"j", 0x24},
    {"k", 0x25},
    {"l", 0x26},
    {"semicolon", 0x27},
    {"apostrophe", 0x28},
    {"grave_accent", 0x29},
    {"shift", 0x2a},
    {"backslash", 0x2b},
    {"z", 0x2c},
    {"x", 0x2d},
    {"c", 0x2e},
    {"v", 0x2f},
    {"b", 0x30},
    {"n", 0x31},
    {"m", 0x32},
    {"comma", 0x33},
    {"dot", 0x34},
    {"slash", 0x35},
    {"shift_r", 0x36},
    {"kp_multiply", 0x37},
    {"asterisk", 0x37},
    {"alt", 0x38},
    {"spc", 0x39},
    {"caps_lock", 0x3a},
    {"f1", 0x3b},
    {"f2", 0x3c},
    {"f3", 0x3d},
    {"f4", 0x3e},
    {"f5", 0x3f},
    {"f6", 0x40},
    {"f7", 0x41},
    {"f8", 0x42},
    {"f9", 0x43},
    {"f10", 0x44},
    {"num_lock", 0x45},
    {"scroll_lock", 0x46},
    {"kp_7", 0x47},
    {"kp_8", 0x48},
    {"kp_9", 0x49},
    {"kp_subtract", 0x4a},
    {"kp_4", 0x4b},
    {"kp_5", 0x4c},
    {"kp_6", 0x4d},
    {"kp_add", 0x4e},
    {"kp_1", 0x4f},
    {"kp_2", 0x50},
    {"kp_3", 0x51},
    {"kp_0", 0x52},
    {"kp_decimal", 0x53},
    {"sysrq", 0x54},
    {"less", 0x56},
    {"f11", 0x57},
    {"f12", 0x58},
    {"kp_enter", 0xe01c},
    {"ctrl_r", 0xe01d},
    {"kp_divide", 0xe035},
    {"print", 0xe037},
    {"alt_r", 0xe038},
    {"home", 0xe047},
    {"up", 0xe048},
    {"pgup", 0xe049},
    {"left", 0xe04b},
    {"right", 0xe04d},
    {"end", 0xe04f},
    {"down", 0xe050},
    {"pgdn", 0xe051},
    {"insert", 0xe052},
    {"delete", 0xe053},
    {"meta_l", 0xe05b},
    {"meta_r", 0xe05c},
    {"compose", 0xe05d},
    {"menu", 0xe05d},
};

/* --- What is meant -------------------------------------------------------- */

static uint16_t find(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strlen(keys[i].name) == len && memcmp(keys[i].name, name, len) == 0)
            return keys[i].code;
    return 0;
}

int keyboard_parse(const char *text, size_t len, struct keyboard_combo *c)
{
    const char *end = text + len;

    *c = (struct keyboard_combo){.nr = 0};
    for (;;) {
        const char *hyphen = memchr(text, '-', (size_t)(end - text));
        size_t n = (size_t)((hyphen ? hyphen : end) - text);
        uint16_t code = find(text, n);

        if (!code || c->nr == KEYBOARD_MAX_KEYS)
            return -EINVAL;
        c->code[c->nr++] = code;
        if (!hyphen)
            return 0;
        text = hyphen + 1;
    }
}

/* The key that types c, and whether with Shift; 0: there is none. */
static uint16_t key_of(char c, bool *shift)
{
    static const char plain[] = "1234567890-=qwertyuiop[]asdfghjkl;'`\\"
                                "zxcvbnm,./ \t\n\b";
    static const char shifted[] = "!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"~|"
                                  "ZXCVBNM<>?";
    static const uint8_t codes[] = {
        0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
        0x0d, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
        0x1a, 0x1b, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26,
        0x27, 0x28, 0x29, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32,
        0x33, 0x34, 0x35, 0x39, 0x0f, 0x1c, 0x0e};
    const char *at = strchr(plain, c);

    _Static_assert(sizeof(codes) == sizeof(plain) - 1, "a code for each");
    *shift = !at;
    if (at)
        return codes[at - plain];
    at = strchr(shifted, c);
    return at ? codes[at - shifted] : 0;
}

/* --- Pressing them -------------------------------------------------------- */

/* In the order of the combination, and up the other way round. */
static void set_keys(struct keyboard *k, bool down)
{
    const struct keyboard_combo *c = &k->queue[k->head];

    for (unsigned i = 0; i < c->nr; i++)
        i8042_key(k->kbd, c->code[down ? i : c->nr - 1u - i], down);
    k->down = down;
}

static void on_timer(void *opaque)
{
    struct keyboard *k = opaque;
    uint64_t now = clock_now_ns();

    if (k->down) {
        set_keys(k, false);
        k->head = (k->head + 1) % KEYBOARD_MAX_QUEUED;
        k->nr--;
        if (k->nr)
            timer_arm(&k->timer, now + PAUSE_NS);
    } else if (k->nr) {
        set_keys(k, true);
        timer_arm(&k->timer, now + HOLD_NS);
    }
}

static int add(struct keyboard *k, const struct keyboard_combo *c,
               struct err *err)
{
    if (k->nr == KEYBOARD_MAX_QUEUED)
        return err_set(err, -EAGAIN,
                       "press keys: %d wait already, which the guest has not "
                       "seen",
                       KEYBOARD_MAX_QUEUED);
    k->queue[(k->head + k->nr++) % KEYBOARD_MAX_QUEUED] = *c;
    return 0;
}

/* Take back what was added since there were nr; or begin. */
static int finish(struct keyboard *k, unsigned nr, int rc)
{
    if (rc < 0)
        k->nr = nr;
    else if (nr == 0 && k->nr)
        on_timer(k);
    return rc;
}

int keyboard_press(struct keyboard *k, const char *keys_text, struct err *err)
{
    const char *word = keys_text + strspn(keys_text, " ");
    unsigned before = k->nr;
    int rc = 0;

    while (rc == 0 && *word) {
        size_t len = strcspn(word, " ");
        struct keyboard_combo c;

        if (keyboard_parse(word, len, &c) < 0)
            rc = err_set(err, -EINVAL,
                         "press keys: '%.*s' is no key, or no combination of "
                         "up to %d: keys have names like a, f12, ret, esc, "
                         "ctrl-alt-delete",
                         (int)(len < 80 ? len : 80), word, KEYBOARD_MAX_KEYS);
        else
            rc = add(k, &c, err);
        word += len;
        word += strspn(word, " ");
    }
    return finish(k, before, rc);
}

int keyboard_type(struct keyboard *k, const char *text, struct err *err)
{
    unsigned before = k->nr;
    int rc = 0;

    for (; rc == 0 && *text; text++) {
        struct keyboard_combo c = {.nr = 0};
        bool shift;
        uint16_t code = key_of(*text, &shift);

        if (!code) {
            rc = err_set(err, -EINVAL,
                         "type text: the byte 0x%02x is on no key of a "
                         "keyboard for the USA",
                         (unsigned char)*text);
            break;
        }
        if (shift)
            c.code[c.nr++] = 0x2a;
        c.code[c.nr++] = code;
        rc = add(k, &c, err);
    }
    return finish(k, before, rc);
}

void keyboard_init(struct keyboard *k, struct i8042 *kbd, struct loop *loop)
{
    memset(k, 0, sizeof(*k));
    k->kbd = kbd;
    timer_init(&k->timer, loop, on_timer, k);
}

void keyboard_fini(struct keyboard *k)
{
    timer_cancel(&k->timer);
}
