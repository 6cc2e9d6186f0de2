/* A matrix product for cores that have neither DSP instructions nor a long multiply: what nd_fully_connected computes,
 * requantised as nd_narrow.h says. The parameters' bias is where sums start, multipliers are the words of nd_narrow,
 * those of one output for all where channel_step is 0. Rows of weights, starts and words are filled up to a multiple of
 * four, at least four. */
#include "nd_narrow.h"

void nd_fully_connected_thumb(int8_t *output, const int8_t *input, const nd_fully_connected_params *p)
{
    const int32_t whole = p->outputs & ~3, left = p->outputs & 3;
    nd_thumb_rows_params t = {output, input, p->weights, p->bias, (const uint32_t *)p->multipliers, !p->channel_step,
                              p->inputs, whole / 4, p->activation_min, 2 * p->output_zero_point + 1};
    for (int32_t row = 0; row < p->rows; row++, t.input += p->inputs) {
        t.out = output + row * p->outputs;
        if (whole > 0)
            nd_thumb_rows(&t);
        if (left > 0) {
            int8_t last[4];
            nd_thumb_rows_params end = t;
            end.out = last;
            end.weights += whole * p->inputs;
            end.starts += whole;
            end.words += p->channel_step * ND_NARROW_WORDS * whole;
            end.fours = 1;
            nd_thumb_rows(&end);
            memcpy(t.out + whole, last, (size_t)left);
        }
    }
}
