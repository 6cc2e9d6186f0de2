/* Depthwise convolution, one output channel for each input channel: any filter, stride, dilation and padding.
 *
 * output[y][x][c] = clamp(zero_point + requantize(bias[c] + sum of weights[.][.][c] * window of channel c at y, x)),
 * requantize rounding twice (gemmlowp). Four channels at a time.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

/* `channels`, up to 4, of one pixel. (y, x): the first tap's place in the image. */
static inline void pixel(int8_t *output, const int8_t *image, int32_t y, int32_t x, int32_t c, int32_t channels,
                         const nd_conv_params *p)
{
    int32_t sum[4] = {0, 0, 0, 0};
    const int8_t *w = p->weights + c;
    for (int32_t i = 0; i < channels; i++)
        sum[i] = p->bias[c + i];
    for (int32_t i = 0; i < p->filter_height; i++) {
        const int32_t row = y + i * p->dilation_height;
        const int outside = row < 0 || row >= p->input_height;
        for (int32_t j = 0; j < p->filter_width; j++, w += p->output_channels) {
            const int32_t column = x + j * p->dilation_width;
            if (outside || column < 0 || column >= p->input_width) {
                for (int32_t n = 0; n < channels; n++)
                    sum[n] += p->input_zero_point * w[n];
            } else {
                const int8_t *in = image + (row * p->input_width + column) * p->input_channels + c;
                for (int32_t n = 0; n < channels; n++)
                    sum[n] += in[n] * w[n];
            }
        }
    }
    for (int32_t n = 0; n < channels; n++) {
        const int32_t m = (c + n) * p->channel_step;
        output[c + n] = nd_output(nd_requantize(sum[n], p->multipliers[m], p->shifts[m]), p->output_zero_point,
                                  p->activation_min, p->activation_max);
    }
}

void nd_depthwise(int8_t *output, const int8_t *input, const nd_conv_params *p)
{
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->output_height; y++) {
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t row = y * p->stride_height - p->pad_top, column = x * p->stride_width - p->pad_left;
                int32_t c = 0;
                for (; c + 4 <= p->output_channels; c += 4)
                    pixel(output, input, row, column, c, 4, p);
                for (; c < p->output_channels; c++)
                    pixel(output, input, row, column, c, 1, p);
                output += p->output_channels;
            }
        }
        input += p->input_height * p->input_width * p->input_channels;
    }
}
