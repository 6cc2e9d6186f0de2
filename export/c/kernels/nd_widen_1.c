/* One window as a column for nd_tile_1: as nd_widen_4 does it, without other pixels between. */
#include "nd_dsp.h"

void nd_widen_1(uint32_t *to, const int8_t *from, int32_t words, int32_t rest, int32_t rows, int32_t step)
{
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *at = from + row * step;
        for (int32_t i = 0; i < words; i++, at += 4, to += 2) {
            const uint32_t word = nd_load_word(at);
            to[0] = nd_even_bytes(word);
            to[1] = nd_odd_bytes(word);
        }
    }
    if (rest)
        nd_widen_rest(to, &from, 1, 4 * words, rest, rows, step);
}
