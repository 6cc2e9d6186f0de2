/* nd_depthwise_dsp for a filter of 7 columns, stride 2 along a row, output zero point -128. */
#define TAPS 7
#define STRIDE 2
#define RELU 1
#include "nd_dsp.h"
#include "nd_plane.h"

void nd_depthwise_7_2_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows,
                           const nd_conv_params *p)
{
    nd_depthwise_dsp(output, input, scratch, rows, p, plane_kernel);
}
