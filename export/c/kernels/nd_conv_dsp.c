/* Convolution of any filter, stride, dilation and padding, one group, two taps at a time: what nd_conv computes.
 *
 * Four output pixels at a time: their windows are widened to int16 into `columns`, 8 bytes for each tap (their number
 * rounded up to a multiple of four), see nd_tile_4, then multiplied with every channel's weights. Behind them lie, where
 * a window is not made of whole words of the input, as many bytes again as there are taps.
 *
 * Four pixels are read before they are written: the output may trail the input in the same memory. */
#include "nd_dsp.h"

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

/* Bytes as pairs of int16, four to two words that lie `step` words apart. Returns where the next go. */
static ND_NOINLINE uint32_t *widen(uint32_t *to, int32_t step, const int8_t *from, int32_t bytes)
{
    if (step == 4) {
        ND_NO_UNROLL
        for (; bytes >= 8; bytes -= 8, from += 8, to += 16) {
            const uint32_t one = nd_load_word(from), two = nd_load_word(from + 4);
            to[0] = nd_even_bytes(one);
            to[4] = nd_odd_bytes(one);
            to[8] = nd_even_bytes(two);
            to[12] = nd_odd_bytes(two);
        }
    }
    ND_NO_UNROLL
    for (; bytes > 0; bytes -= 4, from += 4, to += 2 * step) {
        const uint32_t word = nd_load_word(from);
        to[0] = nd_even_bytes(word);
        to[step] = nd_odd_bytes(word);
    }
    return to;
}

static ND_NOINLINE uint32_t *fill(uint32_t *to, int32_t step, int32_t value, int32_t bytes)
{
    const uint32_t pair = nd_pair(value, value);
    ND_NO_UNROLL
    for (; bytes > 0; bytes -= 2, to += step)
        *to = pair;
    return to;
}

/* A window whose rows are whole words. */
static ND_NOINLINE void widen_window(uint32_t *to, int32_t step, const place *w, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels, zero = p->input_zero_point;
    const int32_t width = p->filter_width * depth;
    const int32_t before = nd_min(nd_max(-w->x, 0), p->filter_width) * depth;
    const int32_t after = nd_min(nd_max(w->x + p->filter_width - p->input_width, 0), p->filter_width) * depth;
    int32_t y = w->y;
    for (int32_t i = 0; i < p->filter_height; i++, y += p->dilation_height) {
        if (y < 0 || y >= p->input_height || before + after >= width) {
            to = fill(to, step, zero, width);
        } else {
            if (before)
                to = fill(to, step, zero, before);
            to = widen(to, step, w->image + (y * p->input_width + w->x) * depth + before, width - before - after);
            if (after)
                to = fill(to, step, zero, after);
        }
    }
}

/* The next window as a column, one word in `step`. */
static void next_column(uint32_t *to, int32_t step, int8_t *bytes, int32_t taps, place *w, const nd_conv_params *p)
{
    if (p->input_channels % 4 == 0 && p->dilation_width == 1) {
        widen_window(to, step, w, p);
    } else {
        nd_gather(bytes, w->image, w->y, w->x, 0, p);
        widen(to, step, bytes, taps);
    }
    advance(w, p);
}

static ND_NOINLINE void clamp_all(int8_t *out, int32_t count, const nd_conv_params *p)
{
    if (p->activation_min > -128 || p->activation_max < 127)
        for (int32_t i = 0; i < count; i++)
            out[i] = (int8_t)nd_clamp(out[i], p->activation_min, p->activation_max);
}

/* The last of an odd number of channels, as if it were two. */
static ND_NOINLINE void last_channel(int8_t *out, int32_t pixels, const uint32_t *column, const uint32_t *end,
                         const nd_conv_params *p)
{
    const int32_t channels = p->output_channels, taps = (int32_t)(end - column) * 2 / pixels;
    const int8_t *weights = p->weights + (channels - 1) * taps;
    int8_t pair[8];
    if (pixels == 4)
        nd_tile_4(pair, column, weights, p->channels + 4 * (channels - 1), 1, 2, end);
    else
        nd_tile_1(pair, column, weights, p->channels + 4 * (channels - 1), 1, end);
    for (int32_t i = 0; i < pixels; i++)
        out[(i + 1) * channels - 1] = pair[2 * i];
}

void nd_conv_dsp(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p)
{
    const int32_t channels = p->output_channels, pairs = channels / 2;
    const int32_t taps = (p->filter_height * p->filter_width * p->input_channels + 3) & ~3;
    int8_t *bytes = (int8_t *)(columns + 2 * taps);
    place w = {input, -p->pad_top, -p->pad_left};
    for (int32_t left = p->batches * p->output_height * p->output_width; left > 0;) {
        const int32_t pixels = left >= 4 ? 4 : 1;
        const uint32_t *end = columns + pixels * taps / 2;
        for (int32_t i = 0; i < pixels; i++)
            next_column(columns + i, pixels, bytes, taps, &w, p);
        if (pairs > 0 && pixels == 4)
            nd_tile_4(output, columns, p->weights, p->channels, pairs, channels, end);
        else if (pairs > 0)
            nd_tile_1(output, columns, p->weights, p->channels, pairs, end);
        if (channels % 2)
            last_channel(output, pixels, columns, end, p);
        clamp_all(output, pixels * channels, p);
        output += pixels * channels;
        left -= pixels;
    }
}
