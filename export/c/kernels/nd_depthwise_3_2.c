/* nd_depthwise_dsp for a filter of 3x3, stride 2 along a row. */
#define TAPS 3
#define STRIDE 2
#define RELU 0
#include "nd_dsp.h"
#include "nd_plane.h"

void nd_depthwise_3_2(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p)
{
    nd_depthwise_dsp(output, input, scratch, rows, p, plane_kernel);
}
