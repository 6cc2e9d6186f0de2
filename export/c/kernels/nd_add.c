/* output = clamp(zo + M_o * (M_1 * (input1 - z1) * 2^20 + sign * M_2 * (input2 - z2) * 2^20)), broadcast.
 *
 * M = multiplier / 2^31 * 2^shift with shift in [-31, 0] (M_o: [-31, 30]), each product rounded to an integer as
 * nd_requantize does. M_1 and M_2 are at most 1/2: the sum of two products of 9-bit differences, shifted left by 20,
 * stays below 2^30. sign is 1 (ADD) or -1 (SUB); it is applied after the rounding, which is not symmetric.
 * Element by element: the output may take the place of an input of its own size. */
#include "ndtool_kernels.h"

#define LEFT_SHIFT 20

static int32_t rescaled(int32_t difference, int32_t multiplier, int32_t shift)
{
    return nd_requantize(difference * (1 << LEFT_SHIFT), multiplier, shift);
}

static void add_row(int8_t *output, const int8_t *a, const int8_t *b, const nd_add_params *p)
{
    const int32_t step1 = p->broadcast.step1[3], step2 = p->broadcast.step2[3];

    for (int32_t i = 0; i < p->broadcast.size[3]; i++) {
        const int32_t term1 = rescaled(*a - p->input1_zero_point, p->input1_multiplier, p->input1_shift);
        const int32_t term2 = rescaled(*b - p->input2_zero_point, p->input2_multiplier, p->input2_shift);
        const int32_t sum = nd_requantize(term1 + p->sign * term2, p->output_multiplier, p->output_shift);

        output[i] = (int8_t)nd_clamp(sum + p->output_zero_point, p->activation_min, p->activation_max);
        a += step1;
        b += step2;
    }
}

void nd_add(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_params *p)
{
    const nd_broadcast *s = &p->broadcast;

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                add_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                        input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], p);
                output += s->size[3];
            }
        }
    }
}
