/* The mean of each window, halves away from zero, clamped. What lies outside the image does not count. Input and output
 * have the same scale and zero point.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

void nd_average_pool(int8_t *output, const int8_t *input, const nd_pool_params *p)
{
    for (int32_t b = 0; b < p->batches; b++, input += p->input_height * p->input_width * p->channels) {
        for (int32_t y = 0; y < p->output_height; y++) {
            const int32_t first_row = nd_max(y * p->stride_height - p->pad_top, 0);
            const int32_t end_row = nd_min(y * p->stride_height - p->pad_top + p->filter_height, p->input_height);
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t first = nd_max(x * p->stride_width - p->pad_left, 0);
                const int32_t end = nd_min(x * p->stride_width - p->pad_left + p->filter_width, p->input_width);
                const int32_t count = (end_row - first_row) * (end - first);
                for (int32_t c = 0; c < p->channels; c++) {
                    int32_t sum = 0;
                    for (int32_t row = first_row; row < end_row; row++)
                        for (int32_t column = first; column < end; column++)
                            sum += input[(row * p->input_width + column) * p->channels + c];
                    sum = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
                    *output++ = (int8_t)nd_clamp(sum, p->activation_min, p->activation_max);
                }
            }
        }
    }
}
