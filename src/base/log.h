#ifndef HUSK_BASE_LOG_H
#define HUSK_BASE_LOG_H

#include <stdbool.h>

#include "base/compiler.h"

/*
 * Lines for the operator, on standard error, "husk: who: text". Any thread;
 * each call writes one line at once. who names the instance ("uart0").
 */
enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The least important level that is printed: HUSK_LOG=err|warn|info|debug in
 * the environment, warn if unset. Set once by main before threads start. */
void log_set_level(enum log_level level);
/* Whether guest-caused lines are printed (HUSK_LOG_GUEST=1); off by default. */
void log_set_guest(bool on);

/* Both of the above from the environment; an unknown level is warn. */
void log_init_from_env(void);

void log_line(enum log_level level, const char *who, const char *fmt, ...)
    PRINTF(3, 4);
/* What the guest did wrong. Rate limited: at most 10 lines a second. */
void log_guest(const char *who, const char *fmt, ...) PRINTF(2, 3);

#define log_err(who, ...)   log_line(LOG_ERR, who, __VA_ARGS__)
#define log_warn(who, ...)  log_line(LOG_WARN, who, __VA_ARGS__)
#define log_info(who, ...)  log_line(LOG_INFO, who, __VA_ARGS__)
#define log_debug(who, ...) log_line(LOG_DEBUG, who, __VA_ARGS__)

#endif
