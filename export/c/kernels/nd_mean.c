/* output = clamp(zero_point + requantize(sum over the summed axes of (input - input_zero_point))), with the number of
 * elements folded into the multiplier, requantize rounding twice (gemmlowp). The output is contiguous.
 *
 * The inputs of up to 16 neighbours are read before they are written: the output may trail the input in the same
 * memory. */
#include "nd_dsp.h"

#define MOST 16

static ND_NOINLINE void finish(int8_t *output, const int32_t *sums, int32_t count, const nd_mean_params *p)
{
    const int32_t multiplier = p->multiplier, rounding = p->rounding, right = p->right_shift;
    const int32_t shift = p->shift, zero_point = p->output_zero_point, offset = p->offset;

    ND_NO_UNROLL
    for (const int32_t *end = sums + count; right > 0 && sums < end;)
        *output++ = (int8_t)nd_requantize_fast(*sums++ + offset, multiplier, rounding, right);
    ND_NO_UNROLL
    for (int32_t i = 0; right == 0 && i < count; i++)
        output[i] = nd_output(nd_requantize(sums[i] + offset, multiplier, shift), zero_point, -128, 127);
}

void nd_mean(int8_t *output, const int8_t *input, const nd_mean_params *p)
{
    const int32_t most = p->kept_step[2] == 1 ? MOST : 1; /* neighbours in memory */
    int32_t channels;

    for (int32_t i = 0; i < p->kept[0]; i++) {
        for (int32_t j = 0; j < p->kept[1]; j++) {
            for (int32_t k = 0; k < p->kept[2]; k += channels, output += channels) {
                const int8_t *first = input + i * p->kept_step[0] + j * p->kept_step[1] + k * p->kept_step[2];
                int32_t sums[MOST] = {0};
                channels = nd_min(p->kept[2] - k, most);
                for (int32_t n = 0; n < p->summed[0]; n++)
                    nd_sum_channels(sums, channels, first + n * p->summed_step[0], p->summed[1], p->summed_step[1],
                                    p->summed[2], p->summed_step[2]);
                finish(output, sums, channels, p);
            }
        }
    }
}
