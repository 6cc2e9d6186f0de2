/* The outputs of one or four pixels from their columns, see nd_tile_4: every channel, an odd one at the end as if it
 * were two, and the activation. `words` of a column, one for every two taps. */
#include "nd_dsp.h"

static void tile(int8_t *out, int32_t pixels, const uint32_t *columns, int32_t words, int32_t first, int32_t end,
                 int32_t stride, const nd_conv_params *p)
{
    const int8_t *weights = p->weights + 2 * words * first;
    const int32_t *channels = p->channels + 4 * first, *channels_end = p->channels + 4 * end;
    if (pixels == 4)
        nd_tile_4(out, columns, weights, channels, words, channels_end, stride, p->exact);
    else
        nd_tile_1(out, columns, weights, channels, words, channels_end);
}

void nd_columns_dsp(int8_t *output, int32_t pixels, const uint32_t *columns, int32_t words, const nd_conv_params *p)
{
    const int32_t channels = p->output_channels, even = channels & ~1;
    if (even)
        tile(output, pixels, columns, words, 0, even, channels, p);
    if (even < channels) {
        int8_t pair[8];
        tile(pair, pixels, columns, words, even, even + 2, 2, p);
        for (int32_t i = 0; i < pixels; i++)
            output[i * channels + even] = pair[2 * i];
    }
    if (p->activation_min > -128 || p->activation_max < 127)
        nd_clamp_bytes(output, pixels * channels, p->activation_min, p->activation_max);
}
