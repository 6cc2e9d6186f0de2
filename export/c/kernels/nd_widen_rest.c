/* What is left of the rows of some windows once their whole words are widened: `rest` bytes of each of `rows` rows,
 * `step` bytes apart, the first at from[pixel] + start, as pairs of int16, beside each other for all pixels. An odd last
 * byte is paired with itself: there its weight is 0. */
#include "nd_dsp.h"

void nd_widen_rest(uint32_t *to, const int8_t *const from[], int32_t pixels, int32_t start, int32_t rest, int32_t rows,
                   int32_t step)
{
    int32_t first = -1;
    for (int32_t row = start, end = start + rows * step; row < end; row += step)
        for (int32_t at = row; at < row + rest; at++) {
            if (first < 0 && (at + 1 < row + rest || row + step < end)) {
                first = at;
                continue;
            }
            ND_NO_UNROLL
            for (int32_t i = 0; i < pixels; i++)
                *to++ = nd_pair(from[i][first < 0 ? at : first], from[i][at]);
            first = -1;
        }
}
