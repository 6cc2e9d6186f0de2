/* Convolution with a 1x1 filter, stride 1, one group: a matrix product, as nd_conv.c but without gathering.
 *
 * Two pixels are read while they are written: the output may trail the input in the same memory by two pixels. */
#include "ndtool_kernels.h"

void nd_conv_1x1(int8_t *output, const int8_t *input, const nd_conv_params *p)
{
    const int32_t pixels = p->batches * p->output_height * p->output_width;
    for (int32_t i = 0; i < pixels; i += 2) {
        const int32_t j = nd_min(i + 1, pixels - 1); /* the last of an odd number is computed twice */
        nd_two_pixels(output + i * p->output_channels, output + j * p->output_channels, input + i * p->input_channels,
                      input + j * p->input_channels, p->input_channels, 0, p->output_channels, p);
    }
}
