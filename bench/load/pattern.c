#include "pattern.h"

#include <stdio.h>
#include <stdlib.h>

/* Primes, so that neither messages nor connections fall into step with the period. */
enum { PERIOD = 65521, LINES = 16381, STRIDE = 7919 };

static unsigned char *table;
static size_t period, unit;

static unsigned char random_byte(void) {
    static uint32_t state = 2463534242u; /* xorshift32, the same on every run */
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (unsigned char)(state >> 11);
}

static unsigned char random_letter(void) {
    return (unsigned char)('a' + random_byte() % 26);
}

void pattern_prepare(size_t line) {
    unit = line ? line : 1;
    period = line ? line * LINES : PERIOD;
    table = malloc(period + PATTERN_CHUNK);
    if (!table) {
        perror("no memory for the pattern");
        exit(2);
    }
    for (size_t i = 0; i < period; i++)
        table[i] = !line ? random_byte() : i % line == line - 1 ? '\n' : random_letter();
    for (size_t i = 0; i < PATTERN_CHUNK; i++)
        table[period + i] = table[i % period];
}

const unsigned char *pattern_at(uint64_t connection, uint64_t position) {
    /* A whole number of units, so that lines stay lines. */
    uint64_t start = connection * STRIDE % (period / unit) * unit;
    return table + (start + position) % period;
}
