/* output = clamp(zo + M * (input1 - z1) * (input2 - z2)), broadcast.
 *
 * M = multiplier / 2^31 * 2^shift, shift in [-31, 30]; the product is rounded as nd_requantize does.
 * Element by element: the output may take the place of an input of its own size. */
#include "ndtool_kernels.h"

static void mul_row(int8_t *output, const int8_t *a, const int8_t *b, const nd_mul_params *p)
{
    const int32_t step1 = p->broadcast.step1[3], step2 = p->broadcast.step2[3];

    for (int32_t i = 0; i < p->broadcast.size[3]; i++) {
        const int32_t product = (*a - p->input1_zero_point) * (*b - p->input2_zero_point);
        const int32_t scaled = nd_requantize(product, p->output_multiplier, p->output_shift);

        output[i] = (int8_t)nd_clamp(scaled + p->output_zero_point, p->activation_min, p->activation_max);
        a += step1;
        b += step2;
    }
}

void nd_mul(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_mul_params *p)
{
    const nd_broadcast *s = &p->broadcast;

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                mul_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                        input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], p);
                output += s->size[3];
            }
        }
    }
}
