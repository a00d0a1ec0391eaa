/* The bytes that a connection sends: which they are depends on the connection and on the position in its stream,
 * so that a byte lost, doubled, swapped or given to another connection is seen. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>

enum { PATTERN_CHUNK = 256 * 1024 }; /* how many bytes can be looked at in one piece */

/* Prepare the pattern; `line` is the length of a line with its newline, or 0 where bytes are no lines. */
void pattern_prepare(size_t line);

/* The bytes of `connection` from `position` on; at least PATTERN_CHUNK of them are there. */
const unsigned char *pattern_at(uint64_t connection, uint64_t position);

#endif
