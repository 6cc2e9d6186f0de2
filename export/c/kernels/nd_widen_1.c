/* The whole words of one window as a column for nd_tile_1: nd_widen_4 without the other three. */
#include "nd_dsp.h"

uint32_t *nd_widen_1(uint32_t *to, const int8_t *from, int32_t words, int32_t rows, int32_t step)
{
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *at = from + row * step;
        ND_NO_UNROLL
        for (int32_t i = 0; i < words; i++, at += 4, to += 2) {
            const uint32_t word = nd_load_word(at);
            to[0] = nd_even_bytes(word);
            to[1] = nd_odd_bytes(word);
        }
    }
    return to;
}
