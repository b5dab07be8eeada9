/* Numbers with units, in and out. */
#ifndef QBLK_TOOL_SIZES_H
#define QBLK_TOOL_SIZES_H

#include <stdint.h>

#include <qblk/base.h>

/* A rate: "64M", "512KiB/s", "1g", or 0 for no limit. Binary units, a second. Any other number
 * without a unit is refused, for what was meant cannot be known: some tools take it for bytes,
 * others for MiB. name is what the number was given as. Returns 0 or -EINVAL. */
int parse_rate(const char *name, const char *s, uint64_t *ret_rate, qblk_error *error);

/* A size in bytes, bare or with such a unit. name is what it was given as. */
int parse_size(const char *name, const char *s, uint64_t *ret_size, qblk_error *error);

/* Seconds with decimals, in milliseconds. name is the option's. */
int parse_seconds(const char *name, const char *s, int64_t *ret_ms, qblk_error *error);

/* A number from 1 up. */
int parse_count(const char *name, const char *s, uint64_t *ret_count, qblk_error *error);

/* "64 MiB", "1.5 GiB", "12 bytes"; "1.2 s", "3 min 4 s". buf is returned. */
#define SIZE_TEXT 32
const char *format_size(uint64_t bytes, char buf[SIZE_TEXT]);
const char *format_elapsed(int64_t ms, char buf[SIZE_TEXT]);

#endif
