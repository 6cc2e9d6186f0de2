/* nd_convolve for windows of one pixel, stride 1, of a whole number of words: no window to look for. `columns` has
 * 8 bytes for each input channel. Four pixels are read before they are written: the output may trail the input in the
 * same memory. */
#include "nd_dsp.h"

void nd_convolve_1x1(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p, nd_tile *tile)
{
    const int32_t depth = p->input_channels;
    for (int32_t left = p->batches * p->output_height * p->output_width, pixels; left > 0; left -= pixels) {
        pixels = left >= 4 ? 4 : 1;
        if (pixels == 4)
            nd_widen_4(columns, input, depth, depth / 4, 1, 0);
        else
            nd_widen_1(columns, input, depth / 4, 1, 0);
        nd_columns_dsp(output, pixels, columns, depth / 2, p, tile);
        input += pixels * depth;
        output += pixels * p->output_channels;
    }
}
