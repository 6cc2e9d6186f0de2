/* output = scale * (input - zero_point), rounded once. */
#include "ndtool_kernels.h"

void nd_dequantize(float *output, const int8_t *input, int32_t size, float scale, int32_t zero_point)
{
    for (int32_t i = 0; i < size; i++) {
        output[i] = scale * (float)(input[i] - zero_point);
    }
}
