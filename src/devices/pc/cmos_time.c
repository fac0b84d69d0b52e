#include "devices/pc/cmos_time.h"

#include <stdbool.h>

#include "devices/pc/cmos.h"

/* Calendar of the MC146818A (data sheet, "Time, Calendar, and Alarm
 * Locations"); Gregorian, 1970 to 2399. */

enum { DAY_SECS = 86400, FORMAT_BINARY = 4, FORMAT_24H = 2, PM = 0x80 };
enum { YEAR_MIN = 1970, YEAR_MAX = 2399 };
/* Both top bits of an alarm register: any value matches. */
#define ALARM_ANY 0xc0u

static uint8_t encode(unsigned val, unsigned format)
{
    if (format & FORMAT_BINARY)
        return (uint8_t)val;
    return (uint8_t)(val / 10 % 10 << 4 | val % 10);
}

static unsigned decode(uint8_t val, unsigned format)
{
    return format & FORMAT_BINARY ? val : (val >> 4) * 10u + (val & 15u);
}

static uint8_t encode_hour(unsigned hour, unsigned format)
{
    unsigned twelve = hour % 12 ? hour % 12 : 12;

    if (format & FORMAT_24H)
        return encode(hour, format);
    return (uint8_t)(encode(twelve, format) | (hour >= 12 ? PM : 0));
}

static unsigned decode_hour(uint8_t val, unsigned format)
{
    if (format & FORMAT_24H)
        return decode(val, format);
    return decode(val & (uint8_t)~PM, format) % 12 + (val & PM ? 12 : 0);
}

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30,
                                     31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year) ? 1u : 0u);
}

/* Days from 1970 to the first of January of year. */
static uint64_t year_start(unsigned year)
{
    unsigned y = year - 1;
    unsigned leaps = y / 4 - y / 100 + y / 400;
    const unsigned leaps_1970 = 1969 / 4 - 1969 / 100 + 1969 / 400;

    return (uint64_t)(year - 1970) * 365 + (leaps - leaps_1970);
}

void cmos_time_split(uint64_t sec, unsigned format, uint8_t *ram)
{
    uint64_t days = sec / DAY_SECS;
    unsigned day_sec = (unsigned)(sec % DAY_SECS);
    uint64_t guess = YEAR_MIN + days / 366;
    unsigned year = guess < YEAR_MAX ? (unsigned)guess : YEAR_MAX;
    unsigned month = 1, mday;

    while (year < YEAR_MAX && year_start(year + 1) <= days)
        year++;
    mday = (unsigned)(days - year_start(year)) % 366;
    while (month < 12 && mday >= month_days(year, month))
        mday -= month_days(year, month++);
    ram[CMOS_SEC] = encode(day_sec % 60, format);
    ram[CMOS_MIN] = encode(day_sec / 60 % 60, format);
    ram[CMOS_HOUR] = encode_hour(day_sec / 3600, format);
    ram[CMOS_WDAY] = encode((unsigned)((days + 4) % 7) + 1, format);
    ram[CMOS_MDAY] = encode(mday + 1, format);
    ram[CMOS_MONTH] = encode(month, format);
    ram[CMOS_YEAR] = encode(year % 100, format);
    ram[CMOS_CENTURY] = encode(year / 100, format);
}

static unsigned clamp(unsigned val, unsigned min, unsigned max)
{
    return val < min ? min : val > max ? max : val;
}

uint64_t cmos_time_join(const uint8_t *ram, unsigned format)
{
    unsigned year = decode(ram[CMOS_CENTURY], format) * 100 +
                    decode(ram[CMOS_YEAR], format) % 100;
    unsigned month = clamp(decode(ram[CMOS_MONTH], format), 1, 12);
    unsigned hour = clamp(decode_hour(ram[CMOS_HOUR], format), 0, 23);
    unsigned min = clamp(decode(ram[CMOS_MIN], format), 0, 59);
    unsigned sec = clamp(decode(ram[CMOS_SEC], format), 0, 59);
    uint64_t days;
    unsigned m;

    year = clamp(year, YEAR_MIN, YEAR_MAX);
    days = year_start(year);
    for (m = 1; m < month; m++)
        days += month_days(year, m);
    days +=
        clamp(decode(ram[CMOS_MDAY], format), 1, month_days(year, month)) - 1;
    return days * DAY_SECS + (uint64_t)hour * 3600 + (uint64_t)min * 60 + sec;
}

/* --- Alarm -------------------------------------------------------------- */

static bool alarm_matches(uint8_t alarm, unsigned want, unsigned val)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || want == val;
}

uint64_t cmos_time_next_alarm(const uint8_t *ram, unsigned format, uint64_t sec)
{
    uint8_t hour_reg = ram[CMOS_HOUR_ALARM], min_reg = ram[CMOS_MIN_ALARM];
    uint8_t sec_reg = ram[CMOS_SEC_ALARM];
    unsigned hour = decode_hour(hour_reg, format);
    unsigned min = decode(min_reg, format);
    unsigned second = decode(sec_reg, format);
    uint64_t end, t = sec + 1;

    if (t > UINT64_MAX - 3 * (uint64_t)DAY_SECS)
        return UINT64_MAX;
    /* Each step leaves an hour, a minute or a second behind: at most 25 + 60 +
     * 60 of them until something matches or a day is over. */
    for (end = t + DAY_SECS; t < end;) {
        if (!alarm_matches(hour_reg, hour, (unsigned)(t % DAY_SECS / 3600)))
            t += 3600 - t % 3600;
        else if (!alarm_matches(min_reg, min, (unsigned)(t / 60 % 60)))
            t += 60 - t % 60;
        else if (!alarm_matches(sec_reg, second, (unsigned)(t % 60)))
            t++;
        else
            return t;
    }
    return UINT64_MAX;
}
