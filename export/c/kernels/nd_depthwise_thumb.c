/* Depthwise convolution, one output channel for each input channel, a filter of up to seven columns, for cores that have
 * neither DSP instructions nor a long multiply: what nd_depthwise computes, requantised as nd_narrow.h says, with the
 * input's zero point folded into the bias.
 *
 * `rows` rows of the output at a time (fewer at the end), of four pixels or more: the rows of the image under them are
 * copied into `strip`, with what lies outside of it filled in. Behind them lie five words for every four of the pixels,
 * see nd_thumb_strip.
 *
 * All rows are read before they are written: the output may trail the input in the same memory. */
#include "nd_narrow.h"

static int32_t reach(int32_t count, int32_t stride, int32_t filter, int32_t dilation)
{
    return (count - 1) * stride + (filter - 1) * dilation + 1;
}

/* Rows [y, y + rows) of an image, columns [-pad_left, width - pad_left). */
static void copy_rows(int8_t *to, const int8_t *image, int32_t y, int32_t rows, int32_t width, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, zero = p->input_zero_point;
    const int32_t before = p->pad_left, inside = nd_min(width - before, p->input_width);
    const size_t row = (size_t)(width * depth);
    for (; rows > 0; rows--, y++, to += row) {
        if (y < 0 || y >= p->input_height) {
            memset(to, zero, row);
        } else {
            memset(to, zero, (size_t)(before * depth));
            memcpy(to + before * depth, image + y * p->input_width * depth, (size_t)(inside * depth));
            memset(to + (before + inside) * depth, zero, row - (size_t)((before + inside) * depth));
        }
    }
}

/* The tiles of some rows of the output; the last reaches back to pixels of the one before. Returns their end. */
static int32_t *list_tiles(int32_t *tile, int32_t rows, int32_t width, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, pixels = rows * p->output_width;
    for (int32_t first = 0; first < pixels; first += 4, tile += 5) {
        const int32_t start = nd_min(first, pixels - 4);
        for (int32_t i = 0; i < 4; i++) {
            const int32_t y = (start + i) / p->output_width, x = (start + i) % p->output_width;
            tile[i] = (y * p->stride_height * width + x * p->stride_width) * depth;
        }
        tile[4] = start * depth;
    }
    return tile;
}

void nd_depthwise_thumb(int8_t *output, const int8_t *input, uint32_t *strip, int32_t rows, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels;
    const int32_t width = reach(p->output_width, p->stride_width, p->filter_width, p->dilation_width);
    const int32_t height = reach(rows, p->stride_height, p->filter_height, p->dilation_height);
    int8_t *const image = (int8_t *)strip;
    int32_t *const tiles = (int32_t *)(void *)(strip + (height * width * depth + 3) / 4);
    int32_t listed = 0;
    const int32_t *end = tiles;
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->output_height; y += rows) {
            const int32_t count = nd_min(rows, p->output_height - y);
            if (count != listed)
                end = list_tiles(tiles, listed = count, width, p);
            copy_rows(image, input, y * p->stride_height - p->pad_top,
                      reach(count, p->stride_height, p->filter_height, p->dilation_height), width, p);
            const nd_thumb_strip_params t = {
                output, image, p->weights, (const uint32_t *)p->bias, depth, tiles, end,
                p->dilation_width * depth, (p->dilation_height * width - p->filter_width * p->dilation_width) * depth,
                p->filter_width, p->filter_height * p->filter_width, depth,
                p->activation_min, 2 * p->output_zero_point + 1};
            nd_thumb_strip(&t);
            output += count * p->output_width * depth;
        }
        input += p->input_height * p->input_width * depth;
    }
}
