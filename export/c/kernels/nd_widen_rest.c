/* `rest` bytes of each of `rows` rows, `step` bytes apart, as pairs of int16 in every width-th word, the last filled up
 * with 0: what is left of a window's rows once their whole words are widened. */
#include "nd_dsp.h"

void nd_widen_rest(uint32_t *to, int32_t width, const int8_t *from, int32_t rest, int32_t rows, int32_t step)
{
    int32_t low = 0, odd = 0;
    for (; rows > 0; rows--, from += step)
        for (int32_t i = 0; i < rest; i++) {
            if (odd) {
                *to = nd_pair(low, from[i]);
                to += width;
            }
            low = from[i];
            odd = !odd;
        }
    if (odd)
        *to = nd_pair(low, 0);
}
