/* Depthwise convolution, one output channel for each input channel: any filter, stride, dilation and padding.
 *
 * output[y][x][c] = clamp(zero_point + requantize(bias[c] + sum of weights[.][.][c] * (window - input_zero_point))),
 * the sum over the taps inside the image, requantize rounding twice (gemmlowp). Four channels at a time.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

/* The part of a window that lies inside the image. */
typedef struct {
    const int8_t *input, *weights; /* of its first tap, channel 0 */
    int32_t rows, columns;         /* taps; there may be none */
} window;

/* Of taps at place, place + dilation, ...: the first that is not before 0, and the first that is not before `size`. */
static int32_t first_tap(int32_t place, int32_t dilation)
{
    return place < 0 ? (dilation - 1 - place) / dilation : 0;
}

static int32_t end_tap(int32_t place, int32_t dilation, int32_t size, int32_t taps)
{
    return nd_min((size - place + dilation - 1) / dilation, taps);
}

static ND_NOINLINE void four_channels(int8_t *output, const window *v, int32_t c, const nd_conv_params *p)
{
    const int32_t zero = p->input_zero_point, channels = p->output_channels;
    const int32_t step = p->dilation_width * channels;
    int32_t s0 = p->bias[c], s1 = p->bias[c + 1], s2 = p->bias[c + 2], s3 = p->bias[c + 3];
    for (int32_t i = 0; i < v->rows; i++) {
        const int8_t *in = v->input + c + i * p->dilation_height * p->input_width * channels;
        const int8_t *w = v->weights + c + i * p->filter_width * channels;
        ND_NO_UNROLL
        for (int32_t j = v->columns; j > 0; j--, in += step, w += channels) {
            s0 += (in[0] - zero) * w[0];
            s1 += (in[1] - zero) * w[1];
            s2 += (in[2] - zero) * w[2];
            s3 += (in[3] - zero) * w[3];
        }
    }
    const int32_t sum[4] = {s0, s1, s2, s3};
    for (int32_t n = 0; n < 4; n++) {
        const int32_t m = (c + n) * p->channel_step;
        output[c + n] = nd_output(nd_requantize(sum[n], p->multipliers[m], p->shifts[m]), p->output_zero_point,
                                  p->activation_min, p->activation_max);
    }
}

static void one_channel(int8_t *output, const window *v, int32_t c, const nd_conv_params *p)
{
    const int32_t channels = p->output_channels, m = c * p->channel_step;
    int32_t sum = p->bias[c];
    for (int32_t i = 0; i < v->rows; i++)
        for (int32_t j = 0; j < v->columns; j++)
            sum += (v->input[(i * p->dilation_height * p->input_width + j * p->dilation_width) * channels + c]
                    - p->input_zero_point) * v->weights[(i * p->filter_width + j) * channels + c];
    output[c] = nd_output(nd_requantize(sum, p->multipliers[m], p->shifts[m]), p->output_zero_point, p->activation_min,
                          p->activation_max);
}

static void one_pixel(int8_t *output, const window *v, const nd_conv_params *p)
{
    int32_t c = 0;
    for (; c + 4 <= p->output_channels; c += 4)
        four_channels(output, v, c, p);
    for (; c < p->output_channels; c++)
        one_channel(output, v, c, p);
}

void nd_depthwise(int8_t *output, const int8_t *input, const nd_conv_params *p)
{
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->output_height; y++) {
            const int32_t row = y * p->stride_height - p->pad_top;
            const int32_t i = first_tap(row, p->dilation_height);
            const int32_t rows = end_tap(row, p->dilation_height, p->input_height, p->filter_height) - i;
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t column = x * p->stride_width - p->pad_left;
                const int32_t j = first_tap(column, p->dilation_width);
                const int32_t columns = end_tap(column, p->dilation_width, p->input_width, p->filter_width) - j;
                const int32_t first = (row + i * p->dilation_height) * p->input_width + column + j * p->dilation_width;
                const window v = {input + first * p->input_channels,
                                  p->weights + (i * p->filter_width + j) * p->output_channels, rows, columns};
                one_pixel(output, &v, p);
                output += p->output_channels;
            }
        }
        input += p->input_height * p->input_width * p->input_channels;
    }
}
