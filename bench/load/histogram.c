#include "histogram.h"

#include <string.h>

static unsigned bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    /* The top SUB_BITS + 1 bits; the first of them is always set and stands for the power of two. */
    return (shift << SUB_BITS) + (unsigned)(value >> shift);
}

static uint64_t upper_bound(unsigned bucket) {
    if (bucket < SUB_BUCKETS)
        return bucket;
    unsigned shift = (bucket >> SUB_BITS) - 1;
    uint64_t top = SUB_BUCKETS + (bucket & (SUB_BUCKETS - 1));
    return ((top + 1) << shift) - 1;
}

void histogram_clear(struct histogram *h) {
    memset(h, 0, sizeof *h);
}

void histogram_record(struct histogram *h, uint64_t nanoseconds) {
    h->counts[bucket_of(nanoseconds)]++;
    h->total++;
    h->sum += nanoseconds;
    if (nanoseconds > h->max)
        h->max = nanoseconds;
}

uint64_t histogram_percentile(const struct histogram *h, double percent) {
    double wanted = (double)h->total * percent / 100.0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen && (double)seen >= wanted)
            return upper_bound(i) < h->max ? upper_bound(i) : h->max;
    }
    return h->max;
}
