/* output = clamp(zero_point + round(input / scale)), halves away from zero; NaN gives the zero point.
 * From 2^31 steps on, and for NaN, the reference converts out of range, which C leaves undefined. */
#include "ndtool_kernels.h"

void nd_quantize(int8_t *output, const float *input, int32_t size, float scale, int32_t zero_point)
{
    for (int32_t i = 0; i < size; i++) {
        const float x = input[i] / scale;
        int32_t q = 0;

        if (x >= 256.0f) {
            q = 256;
        } else if (x <= -256.0f) {
            q = -256;
        } else if (x == x) {
            const int32_t whole = (int32_t)x;
            const float fraction = x - (float)whole; /* exact */

            q = whole + (fraction >= 0.5f) - (fraction <= -0.5f);
        }
        output[i] = (int8_t)nd_clamp(q + zero_point, -128, 127);
    }
}
