/* Convolution of any filter, stride, dilation and padding, one group, two taps at a time: what nd_conv computes.
 *
 * Four output pixels at a time, the last ones one by one: their windows are widened to int16 into `columns`, for each
 * pixel the words of nd_widen_4, then multiplied with every channel's weights by nd_columns_dsp. Behind the columns of
 * four pixels lies a piece of the image with what surrounds it, for windows that reach beyond it or are dilated in
 * width: either all that four windows of one row cover, or one window after the other.
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

static int32_t offset(const place *w, const nd_conv_params *p)
{
    return (w->y * p->input_width + w->x) * p->input_channels;
}

/* The windows of pixels in one row, not dilated in width. Returns how far apart the rows of a window are. */
static int32_t find_neighbours(const int8_t *from[4], int8_t *piece, place *w, int32_t pixels, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, covered = (pixels - 1) * p->stride_width + p->filter_width;
    const int8_t *first = piece;
    int32_t step = covered * depth;
    if (is_inside(w, covered, p)) {
        first = w->image + offset(w, p);
        step = p->input_width * depth * p->dilation_height;
    } else {
        nd_gather(piece, w->image, w->y, w->x, covered, 0, p);
    }
    for (int32_t i = 0; i < pixels; i++)
        from[i] = first + i * p->stride_width * depth;
    advance(w, pixels, p);
    return step;
}

/* The windows of any pixels. */
static int32_t find_each(const int8_t *from[4], int8_t *piece, place *w, int32_t pixels, const nd_conv_params *p)
{
    const int32_t row = p->filter_width * p->input_channels;
    place each[4];
    int inside = p->dilation_width == 1;
    for (int32_t i = 0; i < pixels; i++) {
        each[i] = *w;
        inside = inside && is_inside(w, p->filter_width, p);
        advance(w, 1, p);
    }
    for (int32_t i = 0; i < pixels; i++) {
        if (inside) {
            from[i] = each[i].image + offset(&each[i], p);
        } else {
            from[i] = piece + i * p->filter_height * row;
            nd_gather(piece + i * p->filter_height * row, each[i].image, each[i].y, each[i].x, p->filter_width, 0, p);
        }
    }
    return inside ? p->input_width * p->input_channels * p->dilation_height : row;
}

void nd_conv_dsp(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p)
{
    const int32_t rows = p->filter_height, width = p->filter_width * p->input_channels;
    const int32_t whole = width / 4, rest = width % 4;
    const int32_t words = 2 * whole * rows + (rest * rows + 1) / 2;
    int8_t *piece = (int8_t *)(columns + 4 * words);
    place w = {input, -p->pad_top, -p->pad_left};
    for (int32_t left = p->batches * p->output_height * p->output_width, pixels; left > 0; left -= pixels) {
        const int8_t *from[4];
        pixels = left >= 4 ? 4 : 1;
        const int32_t last = w.x + (pixels - 1) * p->stride_width;
        const int one_row = last < p->output_width * p->stride_width - p->pad_left && p->dilation_width == 1;
        const int32_t step = (one_row ? find_neighbours : find_each)(from, piece, &w, pixels, p);
        if (pixels == 4)
            nd_widen_4(columns, from, whole, rest, rows, step);
        else
            nd_widen_1(columns, from[0], whole, rest, rows, step);
        nd_columns_dsp(output, pixels, columns, words, p);
        output += pixels * p->output_channels;
    }
}
