/* Memory that is about to be touched. */
#ifndef QBLK_SRC_FETCH_H
#define QBLK_SRC_FETCH_H

#include <stddef.h>

/* Asks for size bytes at data (any address will do): they come into the processor's caches beside
 * what is done meanwhile. */
void fetch_lines(const void *data, size_t size);

#endif
