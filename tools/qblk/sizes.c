#include "sizes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "report.h"

/* Digits at *s, which is moved past them. 1 if there were any, 0 if not, -1 if they exceed max. */
static int take_number(const char **s, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *from = *s;

    for (; **s >= '0' && **s <= '9'; (*s)++) {
        unsigned digit = (unsigned)(**s - '0');

        if (value > (max - digit) / 10)
            return -1;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return *s > from;
}

/* The shift that a unit means, -1 if it is none: K, KiB, KiB/s, and so on; B is bytes. */
static int unit_shift(const char *unit)
{
    static const char letters[] = "BKMGT";
    char bare[8];
    size_t n = strlen(unit);

    if (n >= 2 && strcasecmp(unit + n - 2, "/s") == 0)
        n -= 2;
    if (n == 0 || n >= sizeof(bare))
        return -1;
    memcpy(bare, unit, n);
    bare[n] = '\0';
    for (int i = 0; letters[i] != '\0'; i++) {
        char one[2] = { letters[i], '\0' };

        if (strncasecmp(bare, one, 1) != 0)
            continue;
        if (n == 1 || (i > 0 && strcasecmp(bare + 1, "iB") == 0))
            return i * 10;
    }
    return -1;
}

int parse_rate(const char *name, const char *s, uint64_t *ret_rate, qblk_error *error)
{
    const char *unit = s;
    uint64_t value;
    int r = take_number(&unit, INT64_MAX, &value);
    int shift;

    if (r == 0)
        return usage_error(error, "%s '%s' is not a rate: write a number and a unit, such as 64M "
                           "(64 MiB a second), 512K or 1G; 0 is no limit", name, s);
    if (r > 0 && *unit == '\0' && value == 0) {
        *ret_rate = 0;
        return 0;
    }
    if (r > 0 && *unit == '\0')
        return usage_error(error, "%s %s has no unit: write %sM for %s MiB a second, %sK for %s "
                           "KiB, or %sB for %s bytes", name, s, s, s, s, s, s, s);
    shift = r > 0 ? unit_shift(unit) : 0;
    if (shift < 0)
        return usage_error(error, "%s '%s': '%s' is not a unit; B, K, M, G and T are, behind whole "
                           "numbers; for 1.5G write 1536M", name, s, unit);
    if (r < 0 || value > (uint64_t)INT64_MAX >> shift)
        return usage_error(error, "%s '%s' is too large: QEMU takes less than 8 EiB a second; 0 is "
                           "no limit", name, s);
    *ret_rate = value << shift;
    return 0;
}

int parse_size(const char *name, const char *s, uint64_t *ret_size, qblk_error *error)
{
    const char *unit = s;
    uint64_t value;
    int r = take_number(&unit, INT64_MAX, &value);
    int shift = r <= 0 || *unit == '\0' ? 0 : strchr(unit, '/') != NULL ? -1 : unit_shift(unit);

    if (r == 0 || shift < 0)
        return usage_error(error, "%s '%s' is not a whole number, bare or with a unit such as 512K, "
                           "64M or 10GiB (for 1.5G write 1536M)", name, s);
    if (r < 0 || value > (uint64_t)INT64_MAX >> shift)
        return usage_error(error, "%s '%s' is too large: QEMU takes less than 8 EiB", name, s);
    *ret_size = value << shift;
    return 0;
}

int parse_seconds(const char *name, const char *s, int64_t *ret_ms, qblk_error *error)
{
    const uint64_t max = INT32_MAX / 1000 - 1; /* what the library's timeouts hold */
    const char *p = s;
    uint64_t seconds;
    int64_t ms = 0;
    int r = take_number(&p, max, &seconds);
    bool has_digits = r > 0;

    if (r < 0)
        return usage_error(error, "--%s %s is too long: at most %" PRIu64 " seconds", name, s, max);
    if (*p == '.') {
        bool is_more = false;
        int scale = 100;

        for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10) {
            ms += (*p - '0') * scale;
            is_more = is_more || *p != '0';
            has_digits = true;
        }
        ms += ms == 0 && seconds == 0 && is_more; /* the least there is, not nothing */
    }
    if (!has_digits || *p != '\0')
        return usage_error(error, "--%s takes seconds, such as 10 or 0.5, not '%s'", name, s);
    *ret_ms = (int64_t)seconds * 1000 + ms;
    return 0;
}

int parse_count(const char *name, const char *s, uint64_t *ret_count, qblk_error *error)
{
    const char *p = s;
    uint64_t value = 0;

    if (take_number(&p, INT64_MAX, &value) <= 0 || *p != '\0' || value == 0)
        return usage_error(error, "--%s takes a number from 1 up, not '%s'", name, s);
    *ret_count = value;
    return 0;
}

const char *format_size(uint64_t bytes, char buf[SIZE_TEXT])
{
    static const char units[][4] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    int unit = -1;
    double value = (double)bytes;

    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    if (unit < 0)
        (void)snprintf(buf, SIZE_TEXT, "%" PRIu64 " bytes", bytes);
    else if (value == (double)(uint64_t)value || value >= 100)
        (void)snprintf(buf, SIZE_TEXT, "%.0f %s", value, units[unit]);
    else
        (void)snprintf(buf, SIZE_TEXT, "%.1f %s", value, units[unit]);
    return buf;
}

const char *format_elapsed(int64_t ms, char buf[SIZE_TEXT])
{
    int64_t s = ms / 1000;

    if (ms < 1000)
        (void)snprintf(buf, SIZE_TEXT, "%" PRId64 " ms", ms < 0 ? 0 : ms);
    else if (s < 60)
        (void)snprintf(buf, SIZE_TEXT, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    else if (s < 3600)
        (void)snprintf(buf, SIZE_TEXT, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    else
        (void)snprintf(buf, SIZE_TEXT, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    return buf;
}
