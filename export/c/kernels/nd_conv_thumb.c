/* Convolution of any filter, stride, dilation and padding, one group, for cores that have neither DSP instructions nor a
 * long multiply: what nd_conv computes, requantised as nd_narrow.h says.
 *
 * Four output pixels at a time: their windows are widened into `columns`, 8 bytes for each tap (their number rounded up
 * to an even one), see nd_thumb_tile. Behind them lie, where a window may reach out of the image or has gaps, four rows
 * of a window as bytes.
 *
 * Four pixels are read before they are written: the output may trail the input in the same memory. */
#include "nd_narrow.h"

/* The window of the next output pixel: its first tap. */
typedef struct {
    const int8_t *image;
    int32_t y, x;
} place;

static void advance(place *w, const nd_conv_params *p)
{
    w->x += p->stride_width;
    if (w->x < p->output_width * p->stride_width - p->pad_left)
        return;
    w->x = -p->pad_left;
    w->y += p->stride_height;
    if (w->y < p->output_height * p->stride_height - p->pad_top)
        return;
    w->y = -p->pad_top;
    w->image += p->input_height * p->input_width * p->input_channels;
}

/* Row i of a window: where it lies in the image, or at `edge` with what lies outside filled in. */
static const int8_t *row_of(const place *w, int32_t i, int8_t *edge, const nd_conv_params *p)
{
    const int32_t y = w->y + i * p->dilation_height, depth = p->input_channels;
    if (y < 0 || y >= p->input_height) {
        memset(edge, p->input_zero_point, (size_t)(p->filter_width * depth));
        return edge;
    }
    const int8_t *row = w->image + y * p->input_width * depth;
    if (w->x >= 0 && w->x + p->filter_width <= p->input_width && (p->dilation_width == 1 || p->filter_width == 1))
        return row + w->x * depth;
    int8_t *to = edge;
    for (int32_t j = 0, x = w->x; j < p->filter_width; j++, x += p->dilation_width, to += depth) {
        if (x >= 0 && x < p->input_width)
            memcpy(to, row + x * depth, (size_t)depth);
        else
            memset(to, p->input_zero_point, (size_t)depth);
    }
    return edge;
}

/* The windows of up to four pixels as columns; those that are missing are the last again. */
static void fill_columns(uint32_t *columns, int8_t *edges, place *next, int32_t pixels, const nd_conv_params *p)
{
    const int32_t width = p->filter_width * p->input_channels;
    place w[4];
    for (int32_t n = 0; n < 4; n++) {
        w[n] = *next;
        if (n + 1 < pixels)
            advance(next, p);
    }
    advance(next, p);
    for (int32_t i = 0; i < p->filter_height; i++, columns += 2 * width) {
        const int8_t *rows[4];
        for (int32_t n = 0; n < 4; n++)
            rows[n] = row_of(&w[n], i, edges + n * width, p);
        nd_thumb_pack(columns, rows, width);
    }
}

void nd_conv_thumb(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p)
{
    const int32_t channels = p->output_channels;
    const int32_t taps = (p->filter_height * p->filter_width * p->input_channels + 1) & ~1;
    int8_t *edges = (int8_t *)(columns + 2 * taps);
    int8_t last[4 * 8]; /* of a tile that is not full */
    place next = {input, -p->pad_top, -p->pad_left};
    for (int32_t left = p->batches * p->output_height * p->output_width; left > 0; left -= 4, output += 4 * channels) {
        const int32_t pixels = nd_min(left, 4);
        fill_columns(columns, edges, &next, pixels, p);
        for (int32_t c = 0; c < channels; c += 8) {
            const int32_t count = nd_min(channels - c, 8);
            const nd_thumb_tile_params tile = {
                pixels < 4 ? last : output + c, columns, columns + 2 * taps, p->weights + c * taps,
                (const uint32_t *)p->bias + ND_NARROW_WORDS * c, count, pixels < 4 ? 8 : channels,
                p->activation_min, 2 * p->output_zero_point + 1};
            nd_thumb_tile(&tile);
            for (int32_t i = 0; pixels < 4 && i < pixels; i++)
                memcpy(output + i * channels + c, last + 8 * i, (size_t)count);
        }
    }
}
