/* nd_narrow.h: requantisation in 32 bits, for cores without a long multiply. A channel has three words:
 *
 *     word 0: where its sums start << 5 | size - 1        (signed; one output has about 2^size sums)
 *     word 1: high << 16 | low                            (its multiplier is (high << low_shift) + low)
 *     word 2: limit << 22 | stepped << 21 | shift << 16 | rounding
 *
 * with low_shift = min(16, 23 - size). From a sum x, taken for 0 if less and for limit << (size - 1) if more, comes
 *     total = x * high + (x * low >> low_shift) + (lowest << shift) + rounding
 * less 1 << (shift - size) if stepped and if it is below middle = (2 * zero_point + 1) << shift >> 1, that is if the sum
 * proper is negative; the output is total >> shift. Both products fit 32 bits. `lowest` is the layer's least output.
 *
 * The compiler proves for every channel and every sum that this is the reference's output, see operators/narrow.py. */
#ifndef ND_NARROW_H
#define ND_NARROW_H

#include "ndtool_kernels.h"

#if defined(__thumb__) && defined(__GNUC__)
#define ND_THUMB 1
#else
#define ND_THUMB 0
#endif

#define ND_NARROW_WORDS 3

/* The sum of a channel without products. */
static inline int32_t nd_narrow_start(const uint32_t *words) { return (int32_t)words[0] >> 5; }

/* Source: above. `middle` is 2 * zero_point + 1. */
static inline int8_t nd_narrow(int32_t x, const uint32_t *words, int32_t lowest, int32_t middle)
{
    const uint32_t size = (words[0] & 31u) + 1u, shift = words[2] >> 16 & 31u;
    const int32_t limit = (int32_t)(words[2] >> 22 << (size - 1u));
    const uint32_t clamped = (uint32_t)nd_clamp(x, 0, limit), low = clamped * (words[1] & 0xFFFFu);
    const uint32_t base = ((uint32_t)lowest << shift) + (words[2] & 0xFFFFu);
    int32_t total = (int32_t)(clamped * (words[1] >> 16) + (low >> (size < 7u ? 16u : 23u - size)) + base);
    if ((words[2] >> 21 & 1u) != 0 && total < (int32_t)((uint32_t)middle << (shift - 1u)))
        total -= INT32_C(1) << (shift - size);
    return (int8_t)(total >> shift);
}

/* Four pixels of up to eight channels: what nd_thumb_tile is given, in the order in which it keeps it on the stack. */
typedef struct {
    int8_t *out;            /* of the first pixel and channel */
    const uint32_t *column; /* two words a tap, pixels 0 and 1, then 2 and 3: first + (second << 16) */
    const uint32_t *end;    /* of the column; the number of taps is even */
    const int8_t *weights;  /* [tap][8] */
    const uint32_t *words;  /* three a channel */
    int32_t count;          /* of channels */
    int32_t stride;         /* from one pixel's output to the next's, in bytes */
    int32_t lowest, middle; /* see nd_narrow */
} nd_thumb_tile_params;

void nd_thumb_tile(nd_thumb_tile_params t);

#endif
