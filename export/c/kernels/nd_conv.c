/* Convolution of any filter, stride, dilation, padding and number of groups.
 *
 * output[y][x][c] = clamp(zero_point + requantize(bias[c] + sum of weights[c] * window of the input at y, x)),
 * requantize rounding twice (gemmlowp). Two output pixels at a time: their windows are gathered into `patches`,
 * 2 * filter_height * filter_width * (input_channels / groups) bytes, then multiplied with every channel's weights.
 *
 * With one group, a pair is read before it is written: the output may trail the input in the same memory. */
#include "ndtool_kernels.h"

/* The window of output pixel `pixel`, counted over the whole batch. */
static void gather_pixel(int8_t *patch, const int8_t *input, int32_t pixel, int32_t first, const nd_conv_params *p)
{
    const int32_t x = pixel % p->output_width;
    const int32_t y = pixel / p->output_width % p->output_height;
    const int32_t batch = pixel / p->output_width / p->output_height;
    nd_gather(patch, input + batch * p->input_height * p->input_width * p->input_channels,
              y * p->stride_height - p->pad_top, x * p->stride_width - p->pad_left, p->filter_width,
              first, p);
}

void nd_conv(int8_t *output, const int8_t *input, int8_t *patches, const nd_conv_params *p)
{
    const int32_t pixels = p->batches * p->output_height * p->output_width;
    const int32_t depth = p->input_channels / p->groups, count = p->output_channels / p->groups;
    const int32_t k = p->filter_height * p->filter_width * depth;
    for (int32_t i = 0; i < pixels; i += 2) {
        const int32_t j = nd_min(i + 1, pixels - 1); /* the last of an odd number is computed twice */
        for (int32_t group = 0; group < p->groups; group++) {
            gather_pixel(patches, input, i, group * depth, p);
            gather_pixel(patches + k, input, j, group * depth, p);
            nd_two_pixels(output + i * p->output_channels, output + j * p->output_channels, patches, patches + k, k,
                          group * count, count, p);
        }
    }
}
