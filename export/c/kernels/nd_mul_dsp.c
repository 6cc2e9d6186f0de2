/* output = clamp(zo + M * (input1 - z1) * (input2 - z2)), broadcast, rows of both inputs contiguous: nd_mul where M is
 * less than 1/2, see nd_requantize_fast.
 *
 * Four elements at a time. The output may take the place of an input of its own size. */
#include "nd_dsp.h"
#include "nd_words.h"

static ND_NOINLINE void mul_row(int8_t *output, const int8_t *a, const int8_t *b, int32_t count, const nd_mul_params *p)
{
    const int32_t multiplier = p->output_multiplier, rounding = p->rounding, shift = p->right_shift;
    const int32_t zero1 = p->input1_zero_point, zero2 = p->input2_zero_point;
    const uint32_t zeros1 = nd_pair(zero1, zero1), zeros2 = nd_pair(zero2, zero2);

    ND_NO_UNROLL
    for (; count >= 4; count -= 4, output += 4, a += 4, b += 4) {
        const uint32_t word1 = nd_load_word(a), word2 = nd_load_word(b);
        const uint32_t even1 = nd_sub_pairs(nd_even_bytes(word1), zeros1);
        const uint32_t even2 = nd_sub_pairs(nd_even_bytes(word2), zeros2);
        const uint32_t odd1 = nd_sub_pairs(nd_odd_bytes(word1), zeros1);
        const uint32_t odd2 = nd_sub_pairs(nd_odd_bytes(word2), zeros2);

        nd_store_word(output, nd_word(nd_requantize_fast(nd_smulbb(even1, even2), multiplier, rounding, shift),
                                      nd_requantize_fast(nd_smulbb(odd1, odd2), multiplier, rounding, shift),
                                      nd_requantize_fast(nd_smultt(even1, even2), multiplier, rounding, shift),
                                      nd_requantize_fast(nd_smultt(odd1, odd2), multiplier, rounding, shift)));
    }
    ND_NO_UNROLL
    for (; count > 0; count--)
        *output++ = (int8_t)nd_requantize_fast((*a++ - zero1) * (*b++ - zero2), multiplier, rounding, shift);
}

void nd_mul_dsp(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_mul_params *p)
{
    const nd_broadcast *s = &p->broadcast;
    const int32_t count = s->size[3];

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                mul_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                        input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], count, p);
                nd_clamp_bytes(output, count, p->activation_min, p->activation_max);
                output += count;
            }
        }
    }
}
