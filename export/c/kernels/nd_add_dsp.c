/* output = clamp((floor(factor1 * input1 / 2^8) + floor(factor2 * input2 / 2^8) + offset) >> 21), broadcast, rows of
 * both inputs contiguous: ADD and SUB where the compiler has found numbers that give the reference's bytes for all
 * 65 536 pairs of inputs (see sum_formula.py). No sum leaves int32, partial ones included.
 *
 * Four elements at a time, each input times 2^8 in the half of a word, as SMLAW multiplies it.
 * The output may take the place of an input of its own size. */
#include "nd_dsp.h"
#include "nd_words.h"

static int32_t shifted(int32_t sum)
{
#if ND_DSP
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #21" : "=r"(result) : "r"(sum));
    return result;
#else
    return nd_clamp(sum >> 21, -128, 127);
#endif
}

static uint32_t add_four(uint32_t a, uint32_t b, int32_t factor1, int32_t factor2, int32_t offset)
{
    const uint32_t even_a = nd_even_high_bytes(a), even_b = nd_even_high_bytes(b);
    const uint32_t odd_a = nd_odd_high_bytes(a), odd_b = nd_odd_high_bytes(b);

    return nd_word(shifted(nd_smlawb(factor2, even_b, nd_smlawb(factor1, even_a, offset))),
                   shifted(nd_smlawb(factor2, odd_b, nd_smlawb(factor1, odd_a, offset))),
                   shifted(nd_smlawt(factor2, even_b, nd_smlawt(factor1, even_a, offset))),
                   shifted(nd_smlawt(factor2, odd_b, nd_smlawt(factor1, odd_a, offset))));
}

static ND_NOINLINE void add_row(int8_t *output, const int8_t *a, const int8_t *b, int32_t count,
                                const nd_add_fast_params *p)
{
    const int32_t factor1 = p->factor1, factor2 = p->factor2, offset = p->offset;
    const int8_t *end = output + (count & ~7);

    ND_NO_UNROLL
    for (; output < end; output += 8, a += 8, b += 8) {
        nd_store_word(output, add_four(nd_load_word(a), nd_load_word(b), factor1, factor2, offset));
        nd_store_word(output + 4, add_four(nd_load_word(a + 4), nd_load_word(b + 4), factor1, factor2, offset));
    }
    ND_NO_UNROLL
    for (count &= 7; count > 0; count--) {
        const uint32_t high_a = (uint32_t)*a++ << 8, high_b = (uint32_t)*b++ << 8;

        *output++ = (int8_t)shifted(nd_smlawb(factor2, high_b, nd_smlawb(factor1, high_a, offset)));
    }
}

void nd_add_dsp(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_fast_params *p)
{
    const nd_broadcast *s = &p->broadcast;
    const int32_t count = s->size[3];

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                add_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                        input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], count, p);
                nd_clamp_bytes(output, count, p->activation_min, p->activation_max);
                output += count;
            }
        }
    }
}
