/* What is left of the rows of one or four windows, `apart` bytes from each other, once their whole words are widened:
 * `rest` bytes of each of `rows` rows, `step` bytes apart, as pairs of int16, beside each other for all windows. An odd
 * last byte is paired with itself: there its weight is 0. */
#include "nd_dsp.h"

void nd_widen_rest(uint32_t *to, int32_t pixels, const int8_t *from, int32_t apart, int32_t rest, int32_t rows,
                   int32_t step)
{
    const int8_t *first = from;
    int32_t in_row = 0;
    ND_NO_UNROLL
    for (int32_t i = 1, all = rest * rows; i <= all; i++) {
        const int8_t *second = from + in_row;
        if (++in_row == rest) {
            in_row = 0;
            from += step;
        }
        if (i % 2) {
            first = second;
            if (i < all)
                continue;
        }
        to[0] = nd_pair(first[0], second[0]);
        if (pixels > 1) {
            to[1] = nd_pair(first[apart], second[apart]);
            to[2] = nd_pair(first[2 * apart], second[2 * apart]);
            to[3] = nd_pair(first[3 * apart], second[3 * apart]);
        }
        to += pixels;
    }
}
