#ifndef HUSK_DEVICES_PC_CMOS_TIME_H
#define HUSK_DEVICES_PC_CMOS_TIME_H

#include <stdint.h>

/*
 * The time registers of the MC146818A: seconds since 1970 (UTC) to and from
 * BCD or binary, 12 or 24 hours. Pure functions over the 128-byte memory.
 */
enum {
    CMOS_SEC = 0,
    CMOS_SEC_ALARM = 1,
    CMOS_MIN = 2,
    CMOS_MIN_ALARM = 3,
    CMOS_HOUR = 4,
    CMOS_HOUR_ALARM = 5,
    CMOS_WDAY = 6,
    CMOS_MDAY = 7,
    CMOS_MONTH = 8,
    CMOS_YEAR = 9
};

/* format: bits of register B, 0x04 binary and 0x02 24 hours. */

/* Write second sec into the time registers of ram, the alarms aside. */
void cmos_time_split(uint64_t sec, unsigned format, uint8_t *ram);
/* The second that the registers name; what is no date is brought into range. */
uint64_t cmos_time_join(const uint8_t *ram, unsigned format);
/* The first second after sec that the alarm registers match, UINT64_MAX if
 * none ever does. */
uint64_t cmos_time_next_alarm(const uint8_t *ram, unsigned format,
                              uint64_t sec);

#endif
