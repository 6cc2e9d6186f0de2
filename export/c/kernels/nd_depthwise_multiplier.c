/* Depthwise convolution with several output channels for each input channel: any filter, stride, dilation and padding.
 *
 * As nd_depthwise.c, with output channel c reading input channel c / depth_multiplier.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

/* The sum of one channel's window. (y, x): the first tap's place in the image. */
static int32_t window(const int8_t *image, int32_t y, int32_t x, int32_t c, const nd_conv_params *p)
{
    const int8_t *w = p->weights + c;
    int32_t sum = p->bias[c];
    for (int32_t i = 0; i < p->filter_height; i++) {
        const int32_t row = y + i * p->dilation_height;
        for (int32_t j = 0; j < p->filter_width; j++, w += p->output_channels) {
            const int32_t column = x + j * p->dilation_width;
            if (row >= 0 && row < p->input_height && column >= 0 && column < p->input_width) {
                const int32_t place = (row * p->input_width + column) * p->input_channels + c / p->depth_multiplier;
                sum += (image[place] - p->input_zero_point) * *w;
            }
        }
    }
    return sum;
}

void nd_depthwise_multiplier(int8_t *output, const int8_t *input, const nd_conv_params *p)
{
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->output_height; y++) {
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t row = y * p->stride_height - p->pad_top, column = x * p->stride_width - p->pad_left;
                for (int32_t c = 0; c < p->output_channels; c++) {
                    const int32_t m = c * p->channel_step, sum = window(input, row, column, c, p);
                    *output++ = nd_output(nd_requantize(sum, p->multipliers[m], p->shifts[m]), p->output_zero_point,
                                          p->activation_min, p->activation_max);
                }
            }
        }
        input += p->input_height * p->input_width * p->input_channels;
    }
}
