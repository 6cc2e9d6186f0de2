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

static place next(place w, const nd_conv_params *p)
{
    w.x += p->stride_width;
    if (w.x < p->output_width * p->stride_width - p->pad_left)
        return w;
    w.x = -p->pad_left;
    w.y += p->stride_height;
    if (w.y < p->output_height * p->stride_height - p->pad_top)
        return w;
    w.y = -p->pad_top;
    w.image += p->input_height * p->input_width * p->input_channels;
    return w;
}

/* Whether `width` pixels beside each other, over the filter's height, lie in the image. */
static int is_inside(const place *w, int32_t width, const nd_conv_params *p)
{
    const int32_t reach = (p->filter_height - 1) * p->dilation_height + 1;
    return w->y >= 0 && w->y + reach <= p->input_height && w->x >= 0 && w->x + width <= p->input_width;
}

/* Where the windows of `pixels` pixels begin; returns how far apart their rows are. */
static int32_t find_windows(const int8_t *from[4], int8_t *piece, const place w[4], int32_t pixels,
                            const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, filter = p->filter_width, line = p->input_width * depth;
    const int32_t covered = w[pixels - 1].x - w[0].x + filter;
    const int one_row = w[0].y == w[pixels - 1].y && w[0].image == w[pixels - 1].image && p->dilation_width == 1;
    int inside = p->dilation_width == 1;
    if (one_row)
        inside = is_inside(&w[0], covered, p);
    else
        for (int32_t i = 0; i < pixels; i++)
            inside = inside && is_inside(&w[i], filter, p);
    if (!inside && one_row)
        nd_gather(piece, w[0].image, w[0].y, w[0].x, covered, 0, p);
    for (int32_t i = 0; i < pixels; i++) {
        if (inside) {
            from[i] = w[i].image + w[i].y * line + w[i].x * depth;
        } else if (one_row) {
            from[i] = piece + (w[i].x - w[0].x) * depth;
        } else {
            from[i] = piece;
            nd_gather(piece, w[i].image, w[i].y, w[i].x, filter, 0, p);
            piece += p->filter_height * filter * depth;
        }
    }
    return inside ? line * p->dilation_height : (one_row ? covered : filter) * depth;
}

void nd_conv_dsp(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p)
{
    const int32_t rows = p->filter_height, width = p->filter_width * p->input_channels;
    const int32_t whole = width / 4, rest = width % 4;
    const int32_t words = 2 * whole * rows + (rest * rows + 1) / 2;
    place w[4] = {{input, -p->pad_top, -p->pad_left}};
    for (int32_t left = p->batches * p->output_height * p->output_width, pixels; left > 0; left -= pixels) {
        const int8_t *from[4];
        pixels = left >= 4 ? 4 : 1;
        for (int32_t i = 1; i < pixels; i++)
            w[i] = next(w[i - 1], p);
        const int32_t step = find_windows(from, (int8_t *)(columns + 4 * words), w, pixels, p);
        if (pixels == 4)
            nd_widen_4(columns, from, whole, rest, rows, step);
        else
            nd_widen_1(columns, from[0], whole, rest, rows, step);
        nd_columns_dsp(output, pixels, columns, words, p);
        output += pixels * p->output_channels;
        w[0] = next(w[pixels - 1], p);
    }
}
