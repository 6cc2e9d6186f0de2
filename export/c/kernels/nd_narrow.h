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

#if ND_THUMB
/* nd_narrow in assembly, with the instructions of Armv6-M: assembler macros, which a function that uses them defines.
 * `lowest` and `middle` say where these are on the stack, in bytes.
 *
 * unpack: from the three words in r4, r5 and r6 come r1 low_shift, r3 shift, r4 high, r5 low, r6 what is added, r7 limit,
 * r12 middle, lr -step; r0 and r2 are overwritten.
 *
 * narrow: a sum becomes its output, also in r2; r0 is overwritten. */
#define ND_NARROW_MACROS                             \
    ".macro unpack lowest, middle\n"                 \
    "lsls r4, r4, #27\n"                             \
    "lsrs r4, r4, #27\n" /* size - 1 */              \
    "movs r1, #22\n"                                 \
    "subs r1, r1, r4\n"                              \
    "cmp r1, #16\n"                                  \
    "ble 1f\n"                                       \
    "movs r1, #16\n"                                 \
    "1:\n"                                           \
    "lsrs r7, r6, #22\n"                             \
    "lsls r7, r7, r4\n"                              \
    "lsls r3, r6, #11\n" /* the carry: stepped */    \
    "movs r2, #0\n"                                  \
    "adcs r2, r2, r2\n"                              \
    "lsrs r3, r3, #27\n"                             \
    "subs r0, r3, #1\n"                              \
    "subs r4, r0, r4\n"                              \
    "lsls r2, r2, r4\n"                              \
    "rsbs r2, r2, #0\n"                              \
    "mov lr, r2\n"                                   \
    "ldr r2, [sp, #\\middle]\n"                      \
    "lsls r2, r2, r0\n"                              \
    "mov r12, r2\n"                                  \
    "ldr r2, [sp, #\\lowest]\n"                      \
    "lsls r2, r2, r3\n"                              \
    "uxth r6, r6\n"                                  \
    "adds r6, r6, r2\n"                              \
    "lsrs r4, r5, #16\n"                             \
    "uxth r5, r5\n"                                  \
    ".endm\n"                                        \
    ".macro narrow sum, lowest\n"                    \
    "mov r2, \\sum\n"                                \
    "cmp r2, r7\n"                                   \
    "bls 1f\n"                                       \
    "cmp r2, #0\n"                                   \
    "bge 3f\n"                                       \
    "ldr r2, [sp, #\\lowest]\n"                      \
    "b 4f\n"                                         \
    "3:\n"                                           \
    "movs r2, r7\n"                                  \
    "1:\n"                                           \
    "movs r0, r2\n"                                  \
    "muls r0, r5, r0\n"                              \
    "lsrs r0, r0, r1\n"                              \
    "muls r2, r4, r2\n"                              \
    "adds r2, r2, r0\n"                              \
    "adds r2, r2, r6\n"                              \
    "cmp r2, r12\n"                                  \
    "bge 2f\n"                                       \
    "add r2, lr\n"                                   \
    "2:\n"                                           \
    "asrs r2, r2, r3\n"                              \
    "4:\n"                                           \
    "mov \\sum, r2\n"                                \
    ".endm\n"

#endif

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

void nd_thumb_pack(uint32_t *to, const int8_t *const rows[4], int32_t bytes);
void nd_thumb_tile(const nd_thumb_tile_params *t);

/* A strip of a depthwise convolution: what nd_thumb_strip is given, in the order in which it keeps it on the stack. */
typedef struct {
    int8_t *out;                         /* of the first pixel and channel */
    const int8_t *strip;                 /* the image's channel under the first pixel's first tap */
    const int8_t *weights;               /* [channel][tap] */
    const uint32_t *words;               /* three a channel */
    int32_t channels;                    /* also the distance of pixels */
    const int32_t *tiles, *tiles_end;    /* five numbers a tile: where its four windows are in the strip, and its output */
    int32_t column_step, row_step;       /* from a tap to the next, and at the end of a row of taps */
    int32_t filter_width, taps;          /* filter_width in [1, 7] */
    int32_t count;                       /* channels, again */
    int32_t lowest, middle;              /* see nd_narrow */
} nd_thumb_strip_params;

void nd_thumb_strip(const nd_thumb_strip_params *t);

/* Fours of outputs of one row: what nd_thumb_rows is given, in the order in which it keeps it on the stack. */
typedef struct {
    int8_t *out;
    const int8_t *input;
    const int8_t *weights;  /* [output][input] */
    const int32_t *starts;  /* of the sums; the words' own is not read */
    const uint32_t *words;  /* three an output */
    int32_t shared;         /* 1: three for all */
    int32_t inputs, fours;
    int32_t lowest, middle; /* see nd_narrow */
} nd_thumb_rows_params;

void nd_thumb_rows(const nd_thumb_rows_params *t);

#endif
