/* output = clamp(zero_point + requantize(sum over the summed axes of (input - input_zero_point))), with the number of
 * elements folded into the multiplier, requantize rounding twice (gemmlowp). The output is contiguous.
 *
 * The inputs of up to four neighbours are read before they are written: the output may trail the input in the same
 * memory. */
#include "nd_dsp.h"

static int8_t finished(int32_t sum, const nd_mean_params *p)
{
    if (p->right_shift > 0)
        return (int8_t)nd_requantize_fast(sum, p->multiplier, p->rounding, p->right_shift);
    return nd_output(nd_requantize(sum, p->multiplier, p->shift), p->output_zero_point, -128, 127);
}

void nd_mean(int8_t *output, const int8_t *input, const nd_mean_params *p)
{
    const int32_t most = p->kept_step[2] == 1 ? 4 : 1; /* neighbours in memory */
    int32_t channels;

    for (int32_t i = 0; i < p->kept[0]; i++) {
        for (int32_t j = 0; j < p->kept[1]; j++) {
            for (int32_t k = 0; k < p->kept[2]; k += channels) {
                const int8_t *first = input + i * p->kept_step[0] + j * p->kept_step[1] + k * p->kept_step[2];
                int32_t sums[4] = {p->offset, p->offset, p->offset, p->offset};
                channels = nd_min(p->kept[2] - k, most);
                for (int32_t n = 0; n < p->summed[0]; n++)
                    nd_sum_four(sums, channels, first + n * p->summed_step[0], p->summed[1], p->summed_step[1],
                                p->summed[2], p->summed_step[2]);
                for (int32_t n = 0; n < channels; n++)
                    *output++ = finished(sums[n], p);
            }
        }
    }
}
