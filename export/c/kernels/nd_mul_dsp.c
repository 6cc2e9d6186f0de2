/* output = clamp(zo + M * (input1 - z1) * (input2 - z2)), broadcast, rows of both inputs contiguous: nd_mul where M is
 * less than 1/2, see nd_requantize_fast.
 *
 * Four elements at a time. The output may take the place of an input of its own size. */
#include "nd_dsp.h"
#include "nd_words.h"

static uint32_t mul_four(uint32_t a, uint32_t b, uint32_t zeros1, uint32_t zeros2, const nd_mul_params *p)
{
    const uint32_t even_a = nd_sub_pairs(nd_even_bytes(a), zeros1), even_b = nd_sub_pairs(nd_even_bytes(b), zeros2);
    const uint32_t odd_a = nd_sub_pairs(nd_odd_bytes(a), zeros1), odd_b = nd_sub_pairs(nd_odd_bytes(b), zeros2);
    const int32_t multiplier = p->output_multiplier, rounding = p->rounding, shift = p->right_shift;

    return nd_word(nd_requantize_fast(nd_smulbb(even_a, even_b), multiplier, rounding, shift),
                   nd_requantize_fast(nd_smulbb(odd_a, odd_b), multiplier, rounding, shift),
                   nd_requantize_fast(nd_smultt(even_a, even_b), multiplier, rounding, shift),
                   nd_requantize_fast(nd_smultt(odd_a, odd_b), multiplier, rounding, shift));
}

static void mul_row(int8_t *output, const int8_t *a, const int8_t *b, int32_t count, const nd_mul_params *p)
{
    const uint32_t zeros1 = nd_pair(p->input1_zero_point, p->input1_zero_point);
    const uint32_t zeros2 = nd_pair(p->input2_zero_point, p->input2_zero_point);

    ND_NO_UNROLL
    for (; count >= 4; count -= 4, output += 4, a += 4, b += 4)
        nd_store_word(output, mul_four(nd_load_word(a), nd_load_word(b), zeros1, zeros2, p));
    ND_NO_UNROLL
    for (; count > 0; count--)
        *output++ = (int8_t)mul_four((uint8_t)*a++, (uint8_t)*b++, zeros1, zeros2, p);
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
