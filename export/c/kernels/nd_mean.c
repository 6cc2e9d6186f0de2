/* output = clamp(zero_point + requantize(sum over the summed axes of (input - input_zero_point))), with the number of
 * elements folded into the multiplier, requantize rounding twice (gemmlowp). The output is contiguous.
 *
 * An element's inputs are read before it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

static int32_t total(const int8_t *input, const nd_mean_params *p)
{
    int32_t sum = p->offset;
    for (int32_t i = 0; i < p->summed[0]; i++)
        for (int32_t j = 0; j < p->summed[1]; j++)
            for (int32_t k = 0; k < p->summed[2]; k++)
                sum += input[i * p->summed_step[0] + j * p->summed_step[1] + k * p->summed_step[2]];
    return sum;
}

void nd_mean(int8_t *output, const int8_t *input, const nd_mean_params *p)
{
    for (int32_t i = 0; i < p->kept[0]; i++) {
        for (int32_t j = 0; j < p->kept[1]; j++) {
            for (int32_t k = 0; k < p->kept[2]; k++) {
                const int8_t *first = input + i * p->kept_step[0] + j * p->kept_step[1] + k * p->kept_step[2];
                *output++ = nd_output(nd_requantize(total(first, p), p->multiplier, p->shift), p->output_zero_point,
                                      -128, 127);
            }
        }
    }
}
