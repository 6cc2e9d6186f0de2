/* nd_dsp.h: what kernels use of the DSP extension of Armv7E-M and Armv8-M, each with a stand-in in plain C, so that the
 * same kernels run on a host. Two int16 lie in one word, the first in the low half. */
#ifndef ND_DSP_H
#define ND_DSP_H

#include "ndtool_kernels.h"

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__)
#define ND_DSP 1
#pragma GCC diagnostic ignored "-Wunused-parameter" /* of functions in assembly: they find them in registers */
#else
#define ND_DSP 0
#endif

/* A parameter that only assembly sees. */
#if ND_DSP
#define ND_UNUSED __attribute__((unused))
#endif

/* A word at any address, little-endian: one instruction where unaligned loads are allowed. A freestanding compiler makes
 * a call of memcpy, even of four bytes. */
#if defined(__GNUC__)
typedef struct {
    uint32_t word;
} __attribute__((packed, may_alias)) nd_unaligned;

static inline uint32_t nd_load_word(const void *from) { return ((const nd_unaligned *)from)->word; }
static inline void nd_store_word(void *to, uint32_t word) { ((nd_unaligned *)to)->word = word; }
#else
static inline uint32_t nd_load_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

static inline void nd_store_word(void *to, uint32_t word) { memcpy(to, &word, 4); }
#endif

static inline int32_t nd_low(uint32_t pair) { return (int16_t)(pair & 0xFFFFu); }
static inline int32_t nd_high(uint32_t pair) { return (int16_t)(pair >> 16); }

/* Two numbers of 16 bits in one word. */
static inline uint32_t nd_pair(int32_t low, int32_t high) { return ((uint32_t)low & 0xFFFFu) | (uint32_t)high << 16; }

/* Bytes 0 and 2 as two int16. */
static inline uint32_t nd_even_bytes(uint32_t bytes)
{
#if ND_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(bytes));
    return pair;
#else
    return nd_pair((int8_t)(bytes & 0xFFu), (int8_t)(bytes >> 16 & 0xFFu));
#endif
}

/* Bytes 1 and 3 as two int16. */
static inline uint32_t nd_odd_bytes(uint32_t bytes)
{
#if ND_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
#else
    return nd_pair((int8_t)(bytes >> 8 & 0xFFu), (int8_t)(bytes >> 24));
#endif
}

/* sum + low * low + high * high, modulo 2^32 */
static inline int32_t nd_smlad(uint32_t a, uint32_t b, int32_t sum)
{
#if ND_DSP
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(nd_low(a) * nd_low(b)) + (uint32_t)(nd_high(a) * nd_high(b)));
#endif
}

/* base + round(a * b / 2^32), halves up */
static inline int32_t nd_smmlar(int32_t a, int32_t b, int32_t base)
{
#if ND_DSP
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(base));
    return result;
#else
    return base + (int32_t)(((int64_t)a * b + (INT64_C(1) << 31)) >> 32);
#endif
}

/* x clamped to [-128, 127]. */
static inline int32_t nd_saturate(int32_t x)
{
#if ND_DSP
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return result;
#else
    return nd_clamp(x, -128, 127);
#endif
}

/* The int8 output of a sum: clamp(zero_point + requantize(x)), where the compiler has shown that |2 x| < 2^31 and
 * shift, to the right, is at least 1, or 0 for a multiplier of 0; `rounding` is (zero_point << shift) + (1 << shift >> 1).
 *
 * It equals nd_requantize: round(x * multiplier / 2^31) is what smmlar makes of 2 x, and halves go away from zero
 * because 1 is taken off where x is negative, that is where the product is, but for x = -1 and a multiplier of 2^30,
 * whose product rounds to 0 and stays there. */
static inline int32_t nd_requantize_fast(int32_t x, int32_t multiplier, int32_t rounding, int32_t shift)
{
    const int32_t twice = (int32_t)((uint32_t)x << 1);
    return nd_saturate((nd_smmlar(twice, multiplier, rounding) + (twice >> 31)) >> shift);
}

/* ---- What the tiles in assembly compute, in plain C ---- */

/* 256 sums of the second channel of a pair and what the first has: see nd_tile_4. */
static inline int32_t nd_second_sum(int32_t both, int32_t first)
{
    return (int32_t)((uint32_t)both - (uint32_t)first) >> 8;
}

/* nd_requantize_fast, with a channel's four words: twice the bias, which is no part of the sum yet, multiplier,
 * rounding, shift. Where not exact, negative numbers lie too high by one before they are shifted. */
static inline int8_t nd_output_twice(int32_t sum, const int8_t *channel, int32_t exact)
{
    const int32_t multiplier = (int32_t)nd_load_word(channel + 4), rounding = (int32_t)nd_load_word(channel + 8);
    const int32_t x = (int32_t)(2 * (uint32_t)sum + nd_load_word(channel));
    return (int8_t)nd_saturate((nd_smmlar(x, multiplier, rounding) + (exact ? x >> 31 : 0)) >>
                               nd_load_word(channel + 12));
}

/* Two channels of a pixel, of whose column every step-th word is: see nd_tile_4. */
static inline void nd_pair_output(int8_t *out, const uint32_t *column, int32_t step, const int8_t *weights,
                                  int32_t words, int32_t exact)
{
    int32_t both = 0, first = 0;
    for (int32_t i = 0; i < words; i++, weights += 4) {
        both = nd_smlad(nd_load_word(weights), column[i * step], both);
        first = nd_smlad(nd_even_bytes(nd_load_word(weights)), column[i * step], first);
    }
    out[0] = nd_output_twice(first, weights, exact);
    out[1] = nd_output_twice(nd_second_sum(both, first), weights + 16, exact);
}

/* round((sum + bias) * multiplier / 2^(32 + shift)) + zero point, once, halves up, saturated; `channel` has multiplier,
 * rounding as for nd_requantize_fast, and shift. */
static inline int8_t nd_output_floor(int32_t sum, int32_t bias, const int32_t *channel)
{
    const int32_t x = (int32_t)((uint32_t)sum + (uint32_t)bias);
    return (int8_t)nd_saturate(((int32_t)(((int64_t)x * channel[0]) >> 32) + channel[1]) >> channel[2]);
}

#endif
