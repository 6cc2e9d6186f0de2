/* Convolution of any filter, stride, dilation and padding, one group, two taps at a time: what nd_conv computes.
 *
 * Four output pixels at a time by `tile`, the last ones one by one: their windows are widened to int16 into `columns`, by
 * nd_widen_4 and nd_widen_rest or, three wide and of a whole number of words, by nd_widen_shared, then multiplied with
 * every channel's weights by nd_columns_dsp. Behind the columns of four pixels lies a piece of the image with what
 * surrounds it, for windows that reach beyond it, are dilated in width or lie in two rows: either all that four windows of
 * one row cover, or one window after the other.
 *
 * Four pixels are read before they are written: the output may trail the input in the same memory. */
#include "nd_dsp.h"

/* The window of the next output pixel: its first tap. */
typedef struct {
    const int8_t *image;
    int32_t y, x;
} place;

/* By pixels of which all but the last lie in one row. */
static void advance(place *w, int32_t pixels, const nd_conv_params *p)
{
    w->x += pixels * p->stride_width;
    if (w->x < p->output_width * p->stride_width - p->pad_left)
        return;
    w->x = -p->pad_left;
    w->y += p->stride_height;
    if (w->y < p->output_height * p->stride_height - p->pad_top)
        return;
    w->y = -p->pad_top;
    w->image += p->input_height * p->input_width * p->input_channels;
}

/* Whether `width` pixels beside each other, over the filter's height, lie in the image. */
static int is_inside(const place *w, int32_t width, const nd_conv_params *p)
{
    const int32_t reach = (p->filter_height - 1) * p->dilation_height + 1;
    return w->y >= 0 && w->y + reach <= p->input_height && w->x >= 0 && w->x + width <= p->input_width;
}

/* Where windows are: the first, how far the next ones are from it and how far a window's rows are apart. */
typedef struct {
    const int8_t *first;
    int32_t apart, step;
} windows;

/* Of pixels in one row, not dilated in width. */
static windows find_neighbours(int8_t *piece, place *w, int32_t pixels, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, covered = (pixels - 1) * p->stride_width + p->filter_width;
    windows found = {piece, p->stride_width * depth, covered * depth};
    if (is_inside(w, covered, p)) {
        found.first = w->image + (w->y * p->input_width + w->x) * depth;
        found.step = p->input_width * depth * p->dilation_height;
    } else {
        nd_gather(piece, w->image, w->y, w->x, covered, 0, p);
    }
    advance(w, pixels, p);
    return found;
}

/* Of any pixels: copied one by one. */
static windows find_each(int8_t *piece, place *w, int32_t pixels, const nd_conv_params *p)
{
    const int32_t step = p->filter_width * p->input_channels, apart = p->filter_height * step;
    ND_NO_UNROLL
    for (int32_t i = 0; i < pixels; i++) {
        nd_gather(piece + i * apart, w->image, w->y, w->x, p->filter_width, 0, p);
        advance(w, 1, p);
    }
    return (windows){piece, apart, step};
}

/* Whether tiles are made of windows that share two of their three columns: then no tile is of one pixel. */
static int shares(const nd_conv_params *p)
{
    return p->filter_width == 3 && p->stride_width == 1 && p->dilation_width == 1 && p->input_channels % 4 == 0 &&
           p->output_width % 4 == 0;
}

/* All taps of one or four windows. */
static void widen(uint32_t *columns, int32_t pixels, const windows *w, const nd_conv_params *p)
{
    const int32_t rows = p->filter_height, width = p->filter_width * p->input_channels;
    const int32_t words = width / 4, rest = width % 4;
    if (shares(p))
        nd_widen_shared(columns, w->first, p->input_channels, rows, w->step);
    else if (words && pixels == 4)
        columns = nd_widen_4(columns, w->first, w->apart, words, rows, w->step);
    else if (words)
        columns = nd_widen_1(columns, w->first, words, rows, w->step);
    if (rest)
        nd_widen_rest(columns, pixels, w->first + 4 * words, w->apart, rest, rows, w->step);
}

void nd_convolve(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p, nd_tile *tile)
{
    const int32_t width = p->filter_width * p->input_channels;
    const int32_t words = 2 * (width / 4) * p->filter_height + (width % 4 * p->filter_height + 1) / 2;
    const int32_t end = p->output_width * p->stride_width - p->pad_left;
    int8_t *piece = (int8_t *)(columns + 4 * words);
    place w = {input, -p->pad_top, -p->pad_left};
    for (int32_t left = p->batches * p->output_height * p->output_width, pixels; left > 0; left -= pixels) {
        pixels = left >= 4 ? 4 : 1;
        const int one_row = w.x + (pixels - 1) * p->stride_width < end && p->dilation_width == 1;
        const windows found = (one_row ? find_neighbours : find_each)(piece, &w, pixels, p);
        widen(columns, pixels, &found, p);
        nd_columns_dsp(output, pixels, columns, words, p, tile);
        output += pixels * p->output_channels;
    }
}
