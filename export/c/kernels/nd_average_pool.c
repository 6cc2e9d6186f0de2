/* The mean of each window, halves away from zero, clamped. What lies outside the image does not count. Input and output
 * have the same scale and zero point.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

/* One pixel: the windows that begin at `first`, of all channels. */
static int8_t *average(int8_t *output, const int8_t *first, int32_t rows, int32_t columns, const nd_pool_params *p)
{
    const int32_t count = rows * columns, half = count / 2;

    for (int32_t c = 0; c < p->channels; c += 4) {
        const int32_t channels = nd_min(p->channels - c, 4);
        int32_t sums[4] = {0, 0, 0, 0};
        nd_sum_four(sums, channels, first + c, rows, p->input_width * p->channels, columns, p->channels);
        for (int32_t i = 0; i < channels; i++) {
            const int32_t mean = (sums[i] > 0 ? sums[i] + half : sums[i] - half) / count;
            *output++ = (int8_t)nd_clamp(mean, p->activation_min, p->activation_max);
        }
    }
    return output;
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
                output = average(output, input + (first_row * p->input_width + first) * p->channels,
                                 end_row - first_row, end - first, p);
            }
        }
    }
}
