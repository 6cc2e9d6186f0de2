/* nd_words.h: four int8 in a word, the first in the lowest byte, as the DSP extension computes with them; each function
 * with a stand-in in plain C, beside those of nd_dsp.h. */
#ifndef ND_WORDS_H
#define ND_WORDS_H

#include "nd_dsp.h"

/* Whether kernels that can do with bytes too compute by words; define it as 1 to have a host do so. */
#ifndef ND_WORDS
#define ND_WORDS ND_DSP
#endif

/* Byte i of a word. */
static inline int32_t nd_byte(uint32_t word, int i) { return (int8_t)(word >> (8 * i) & 0xFFu); }

/* Four bytes in one word. */
static inline uint32_t nd_word(int32_t a, int32_t b, int32_t c, int32_t d)
{
#if ND_DSP
    __asm__("bfi %0, %1, #8, #8" : "+r"(a) : "r"(b));
    __asm__("bfi %0, %1, #8, #8" : "+r"(c) : "r"(d));
    __asm__("pkhbt %0, %0, %1, lsl #16" : "+r"(a) : "r"(c));
    return (uint32_t)a;
#else
    return ((uint32_t)a & 0xFFu) | ((uint32_t)b & 0xFFu) << 8 | ((uint32_t)c & 0xFFu) << 16 | (uint32_t)d << 24;
#endif
}

/* Bytes 0 and 2, or 1 and 3, as two int16, each times 256. */
static inline uint32_t nd_even_high_bytes(uint32_t word) { return word << 8 & 0xFF00FF00u; }
static inline uint32_t nd_odd_high_bytes(uint32_t word) { return word & 0xFF00FF00u; }

/* sum + floor(factor * half / 2^16) for the low or the high half of a pair. */
static inline int32_t nd_smlawb(int32_t factor, uint32_t pair, int32_t sum)
{
#if ND_DSP
    int32_t result;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(pair), "r"(sum));
    return result;
#else
    return sum + (int32_t)((int64_t)factor * nd_low(pair) >> 16);
#endif
}

static inline int32_t nd_smlawt(int32_t factor, uint32_t pair, int32_t sum)
{
#if ND_DSP
    int32_t result;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(pair), "r"(sum));
    return result;
#else
    return sum + (int32_t)((int64_t)factor * nd_high(pair) >> 16);
#endif
}

/* Products of the low or of the high halves of two pairs. */
static inline int32_t nd_smulbb(uint32_t a, uint32_t b)
{
#if ND_DSP
    int32_t result;
    __asm__("smulbb %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
#else
    return nd_low(a) * nd_low(b);
#endif
}

static inline int32_t nd_smultt(uint32_t a, uint32_t b)
{
#if ND_DSP
    int32_t result;
    __asm__("smultt %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
#else
    return nd_high(a) * nd_high(b);
#endif
}

/* Differences and sums of the halves of two pairs; they wrap. */
static inline uint32_t nd_sub_pairs(uint32_t a, uint32_t b)
{
#if ND_DSP
    uint32_t result;
    __asm__("ssub16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b) : "cc");
    return result;
#else
    return nd_pair(nd_low(a) - nd_low(b), nd_high(a) - nd_high(b));
#endif
}

/* A pair of sums plus bytes 0 and 2, or 1 and 3; they wrap. */
static inline uint32_t nd_add_even_bytes(uint32_t sums, uint32_t word)
{
#if ND_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sums), "r"(word));
    return result;
#else
    return nd_pair(nd_low(sums) + nd_byte(word, 0), nd_high(sums) + nd_byte(word, 2));
#endif
}

static inline uint32_t nd_add_odd_bytes(uint32_t sums, uint32_t word)
{
#if ND_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sums), "r"(word));
    return result;
#else
    return nd_pair(nd_low(sums) + nd_byte(word, 1), nd_high(sums) + nd_byte(word, 3));
#endif
}

/* The larger, and the smaller, of each of four bytes. */
static inline uint32_t nd_max_bytes(uint32_t a, uint32_t b)
{
#if ND_DSP
    uint32_t result;
    __asm__("ssub8 %0, %1, %2 \n sel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
#else
    return nd_word(nd_max(nd_byte(a, 0), nd_byte(b, 0)), nd_max(nd_byte(a, 1), nd_byte(b, 1)),
                   nd_max(nd_byte(a, 2), nd_byte(b, 2)), nd_max(nd_byte(a, 3), nd_byte(b, 3)));
#endif
}

static inline uint32_t nd_min_bytes(uint32_t a, uint32_t b)
{
#if ND_DSP
    uint32_t result;
    __asm__("ssub8 %0, %1, %2 \n sel %0, %2, %1" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
#else
    return ~nd_max_bytes(~a, ~b);
#endif
}

#endif
