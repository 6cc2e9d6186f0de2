/* The mean of each window, halves away from zero, clamped. What lies outside the image does not count. Input and output
 * have the same scale and zero point.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

#define MOST 16 /* channels at a time */

/* One pixel: the windows that begin at `first`, of all channels. */
static ND_NOINLINE void average(int8_t *output, const int8_t *first, int32_t rows, int32_t columns,
                                const nd_pool_params *p)
{
    const int32_t count = rows * columns, half = count / 2, low = p->activation_min, high = p->activation_max;

    for (int32_t left = p->channels; left > 0; left -= MOST, first += MOST) {
        const int32_t channels = nd_min(left, MOST);
        int32_t sums[MOST] = {0};
        nd_sum_channels(sums, channels, first, rows, p->input_width * p->channels, columns, p->channels);
        ND_NO_UNROLL
        for (int32_t i = 0; i < channels; i++)
            *output++ = (int8_t)nd_clamp((sums[i] > 0 ? sums[i] + half : sums[i] - half) / count, low, high);
    }
}

void nd_average_pool(int8_t *output, const int8_t *input, const nd_pool_params *p)
{
    for (int32_t b = 0; b < p->batches; b++, input += p->input_height * p->input_width * p->channels) {
        for (int32_t y = 0; y < p->output_height; y++) {
            const int32_t first_row = nd_max(y * p->stride_height - p->pad_top, 0);
            const int32_t end_row = nd_min(y * p->stride_height - p->pad_top + p->filter_height, p->input_height);
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t first = nd_max(x * p->stride_width - p->pad_left, 0);
                const int32_t end = nd_min(x * p->stride_width - p->pad_left + p->filter_width, p->input_width);
                average(output, input + (first_row * p->input_width + first) * p->channels, end_row - first_row,
                        end - first, p);
                output += p->channels;
            }
        }
    }
}
