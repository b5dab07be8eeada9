/* Writes JSON by hand: jansson cannot print integers above 63 bits, and QEMU's texts are passed on
 * as they are. A key of NULL is for elements of arrays and for the outermost value. */
#ifndef QBLK_TOOL_JSON_H
#define QBLK_TOOL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <qblk/job.h>

#include "text.h"

void json_open(struct text *text, const char *key, char bracket);
void json_close(struct text *text, char bracket);
void json_str(struct text *text, const char *key, const char *value); /* NULL: null */
void json_word(struct text *text, const char *key, const char *value); /* NULL or "": null */
void json_u64(struct text *text, const char *key, uint64_t value);
void json_i64(struct text *text, const char *key, int64_t value);
void json_bool(struct text *text, const char *key, bool value);
void json_null(struct text *text, const char *key);
/* value is JSON already; what is not valid is written as a string. NULL: null. */
void json_raw(struct text *text, const char *key, const char *value);
/* The same of one that is valid, however deep. */
void json_value(struct text *text, const char *key, const char *value);

/* A time of day in us since 1970, as seconds; 0: null. */
void json_time(struct text *text, const char *key, int64_t us);

/* Opens {"event": name, "time": now}; to be closed by the caller. */
void json_event(struct text *text, const char *name);

/* The members of a job, into an open object. */
void json_job_members(struct text *text, const qblk_job_info *job);
/* The same as a member "job". */
void json_job(struct text *text, const qblk_job_info *job);

#endif
