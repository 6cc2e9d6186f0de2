/* The outputs of one or four pixels from their columns, four by `tile`: every channel, an odd one at the end as if it
 * were two, and the activation. `words` of a column, one for every two taps. */
#include "nd_dsp.h"

void nd_columns_dsp(int8_t *output, int32_t pixels, const uint32_t *columns, int32_t words, const nd_conv_params *p,
                    nd_tile *tile)
{
    const int32_t channels = p->output_channels;
    const int8_t *last = p->weights + channels / 2 * (4 * words + 32);
    if (channels > 1 && pixels == 4)
        tile(output, columns, p->weights, last, words, channels, p->exact);
    else if (channels > 1)
        nd_tile_1(output, columns, p->weights, last, words);
    if (channels % 2) {
        int8_t pair[8];
        if (pixels == 4)
            tile(pair, columns, last, last + 4 * words + 32, words, 2, p->exact);
        else
            nd_tile_1(pair, columns, last, last + 4 * words + 32, words);
        for (int32_t i = 0; i < pixels; i++)
            output[(i + 1) * channels - 1] = pair[2 * i];
    }
    if (p->activation_min > -128 || p->activation_max < 127)
        nd_clamp_bytes(output, pixels * channels, p->activation_min, p->activation_max);
}
