/* What nd_fully_connected computes, four outputs and two inputs at a time. Weights and `channels` are those of
 * nd_tile_row, outputs and inputs filled up with zeros to a multiple of four; what all outputs share is in
 * `multipliers`. The compiler checks for every multiplier that rounding halves up gives LiteRT's double precision for
 * every sum that can occur. `copy` is as long as a row, its inputs rounded up, where these are no multiple of four;
 * else rows are read as they are. */
#include "nd_dsp.h"

/* `count` bytes, filled up with zeros to `all`. */
static ND_NOINLINE void copy_bytes(int8_t *to, const int8_t *from, int32_t count, int32_t all)
{
    ND_NO_UNROLL
    for (int32_t i = 0; i < all; i++)
        to[i] = i < count ? from[i] : 0;
}

void nd_fully_connected_dsp(int8_t *output, const int8_t *input, int8_t *copy, const nd_fully_connected_params *p)
{
    const int32_t fours = (p->inputs + 3) / 4, outputs = p->outputs, whole = outputs & ~3;
    const int32_t *shared = p->multipliers;
    const int32_t words = shared ? 1 : 4; /* of an output */
    const int32_t *last = p->channels + words * whole;
    for (int32_t r = 0; r < p->rows; r++, input += p->inputs, output += outputs) {
        const int8_t *row = input;
        if (p->inputs % 4) {
            copy_bytes(copy, input, p->inputs, 4 * fours);
            row = copy;
        }
        if (whole)
            nd_tile_row(output, row, p->weights, p->channels, fours, last, shared);
        if (whole < outputs) {
            int8_t four[4];
            nd_tile_row(four, row, p->weights + 4 * fours * whole, last, fours, last + 4 * words, shared);
            copy_bytes(output + whole, four, outputs - whole, outputs - whole);
        }
        if (p->activation_min > -128 || p->activation_max < 127)
            nd_clamp_bytes(output, outputs, p->activation_min, p->activation_max);
    }
}
