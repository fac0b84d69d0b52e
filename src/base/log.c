/*
 * Lines for the operator. A line is built whole and written by one call, so
 * that lines of different threads do not mix. Texts may carry names that came
 * from outside: bytes that could steer a terminal are replaced.
 *
 * The settings are the one process-wide state below main: a log line must be
 * possible where no context is at hand.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOG_LINE_MAX = 512, LOG_GUEST_PER_SEC = 10 };

static _Atomic int log_level = LOG_WARN;
static atomic_bool log_guest_on;

/* The current second of guest-caused lines. */
static struct {
    pthread_mutex_t m;
    uint64_t start_ns;
    unsigned printed, dropped;
} guest_rate = {.m = PTHREAD_MUTEX_INITIALIZER};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void log_set_guest(bool on)
{
    atomic_store_explicit(&log_guest_on, on, memory_order_relaxed);
}

void log_init_from_env(void)
{
    static const char *const names[] = {"err", "warn", "info", "debug"};
    const char *level = getenv("HUSK_LOG"); /* NOLINT: before any thread */
    const char *guest = getenv("HUSK_LOG_GUEST"); /* NOLINT: likewise */

    log_set_level(LOG_WARN);
    for (unsigned i = 0; level && i < ARRAY_LEN(names); i++) {
        if (strcmp(level, names[i]) == 0)
            log_set_level((enum log_level)i);
    }
    log_set_guest(guest && strcmp(guest, "1") == 0);
}

/* Write "husk: who: text\n"; what does not fit is cut. */
static void put_line(const char *who, const char *fmt, va_list ap) PRINTF(2, 0);
static void put_line(const char *who, const char *fmt, va_list ap)
{
    char line[LOG_LINE_MAX];
    size_t len;
    int n = snprintf(line, sizeof(line), "husk: %s: ", who);

    len = n < 0 ? 0 : (size_t)n;
    if (len < sizeof(line) - 1) {
        n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
        len += n < 0 ? 0 : (size_t)n;
    }
    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];

        if (c < 0x20 || c == 0x7f)
            line[i] = '?';
    }
    line[len] = '\n';
    /* Nobody is left to tell if standard error fails. */
    if (write(STDERR_FILENO, line, len + 1) < 0)
        return;
}

void log_line(enum log_level level, const char *who, const char *fmt, ...)
{
    va_list ap;

    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    va_start(ap, fmt);
    put_line(who, fmt, ap);
    va_end(ap);
}

/* Count a line of this second: whether it may be printed. *dropped is how many
 * of the last second were not, told once. */
static bool guest_rate_ok(unsigned *dropped)
{
    uint64_t now = clock_now_ns();
    bool ok;

    *dropped = 0;
    (void)pthread_mutex_lock(&guest_rate.m);
    if (guest_rate.start_ns == 0 || now - guest_rate.start_ns >= NS_PER_SEC) {
        *dropped = guest_rate.dropped;
        guest_rate.start_ns = now;
        guest_rate.printed = 0;
        guest_rate.dropped = 0;
    }
    ok = guest_rate.printed < LOG_GUEST_PER_SEC;
    if (ok)
        guest_rate.printed++;
    else
        guest_rate.dropped++;
    (void)pthread_mutex_unlock(&guest_rate.m);
    return ok;
}

static void put_dropped(const char *fmt, ...) PRINTF(1, 2);
static void put_dropped(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    put_line("log", fmt, ap);
    va_end(ap);
}

void log_guest(const char *who, const char *fmt, ...)
{
    unsigned dropped;
    va_list ap;

    if (!atomic_load_explicit(&log_guest_on, memory_order_relaxed) ||
        !guest_rate_ok(&dropped))
        return;
    if (dropped > 0)
        put_dropped("%u lines about the guest were left out", dropped);
    va_start(ap, fmt);
    put_line(who, fmt, ap);
    va_end(ap);
}
