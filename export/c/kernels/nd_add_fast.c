/* output = clamp((factor1 * input1 + factor2 * input2 + offset + rounding) >> shift), broadcast: ADD and SUB where the
 * compiler has found numbers that give the reference's bytes for all 65 536 pairs of inputs (see sum_formula.py).
 *
 * Where `away` is 1, halves go away from zero: 1 is taken off a negative sum, of all but `rounding`. No sum leaves
 * int32, partial ones included.
 * Element by element: the output may take the place of an input of its own size. */
#include "ndtool_kernels.h"

static ND_NOINLINE void add_row(int8_t *output, const int8_t *a, const int8_t *b, const nd_add_fast_params *p)
{
    const int32_t step1 = p->broadcast.step1[3], step2 = p->broadcast.step2[3];
    const int32_t factor1 = p->factor1, factor2 = p->factor2, offset = p->offset + p->rounding, shift = p->shift;
    const int32_t low = p->activation_min, high = p->activation_max;
    const int8_t *end = output + p->broadcast.size[3];

    ND_NO_UNROLL
    for (; output < end; a += step1, b += step2)
        *output++ = (int8_t)nd_clamp((factor1 * *a + factor2 * *b + offset) >> shift, low, high);
}

static ND_NOINLINE void add_row_away(int8_t *output, const int8_t *a, const int8_t *b, const nd_add_fast_params *p)
{
    for (int32_t i = 0; i < p->broadcast.size[3]; i++) {
        const int32_t sum = p->factor1 * *a + p->factor2 * *b + p->offset;

        output[i] = (int8_t)nd_clamp((sum + (sum >> 31) + p->rounding) >> p->shift, p->activation_min,
                                     p->activation_max);
        a += p->broadcast.step1[3];
        b += p->broadcast.step2[3];
    }
}

void nd_add_fast(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_fast_params *p)
{
    const nd_broadcast *s = &p->broadcast;

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                const int8_t *a = input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2];
                const int8_t *b = input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2];

                if (p->away)
                    add_row_away(output, a, b, p);
                else
                    add_row(output, a, b, p);
                output += s->size[3];
            }
        }
    }
}
