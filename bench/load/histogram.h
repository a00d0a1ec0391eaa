/* Latencies in nanoseconds, in buckets that are never wider than 1/64 of their value (as in HdrHistogram), so that
 * a percentile is at most 1.6 % above the truth. Recording costs a few instructions, whatever the count. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { SUB_BITS = 6, SUB_BUCKETS = 1 << SUB_BITS, BUCKETS = (65 - SUB_BITS) * SUB_BUCKETS };

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total, sum, max;
};

void histogram_clear(struct histogram *h);
void histogram_record(struct histogram *h, uint64_t nanoseconds);

/* The smallest value that at least `percent` of the recorded ones do not exceed (the bucket's upper bound, and never
 * more than the maximum, which is exact); 0 when nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif
