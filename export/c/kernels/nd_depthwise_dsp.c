/* Depthwise convolution, one output channel for each input channel, for cores with the DSP extension: what nd_depthwise
 * computes, with filters of 3, 5 or 7 columns, any stride and dilation along the rows and any padding. The kernels
 * nd_depthwise_3, ... are this one with the inner loops of a width and a stride, see nd_plane.h.
 *
 * Four channels at a time: a band of their rows becomes four planes of int16, padded with the input's zero point (which
 * the bias has in it, as for convolutions), then one channel after the other is convolved. A row is read once; what the
 * next band needs of it is moved to the top of the planes.
 *
 * `scratch`: an nd_plane with its working memory, then four planes of `rows` rows. A row has room for
 * input[0] to input[output_width * stride_width + filter_width], rounded up to whole words. `weights` are
 * [channel][height][width], filled up with zeros; `channels` has four words each, see nd_plane.h.
 *
 * A band is read before its outputs are written. The output may take the place of the input, or begin so many whole
 * pixels before it that no band's outputs end behind what has been read: then what is written of four channels lies on
 * pixels of the same channels, and others are not disturbed. */
#include "nd_dsp.h"
#include "nd_plane.h"

/* How four channels of pixels are widened; steps in bytes. The assembly knows the order. */
typedef struct {
    int32_t size, pixel; /* from plane to plane, from pixel to pixel */
    uint32_t zero;       /* the zero point in every byte */
    int32_t odd, pixels; /* 1 if the first pixel is the second of a word; pixels of a row, less that one */
    int32_t to_row, from_row;
} widening;

/* What stays the same all the time. Sizes of planes in words. */
typedef struct {
    const nd_conv_params *p;
    nd_plane_kernel *kernel;
    nd_plane *plane;
    uint32_t *top;
    int32_t row, size, taps; /* of one row of a plane, of one plane, of one channel */
    widening widening;
} job;

#if ND_DSP

/* Two pixels, r6 and r7, to one word in each plane. */
#define PUT                           \
    "pkhbt  r9, r6, r7, lsl #16   \n" \
    "pkhtb  r7, r7, r6, asr #16   \n" \
    "and    r6, r5, r9, lsl #8    \n" \
    "and    r9, r5, r9            \n" \
    "and    r10, r5, r7, lsl #8   \n" \
    "and    r7, r5, r7            \n" \
    "str    r10, [r0, r2, lsl #1] \n" \
    "str    r6, [r0], #4          \n" \
    "str    r7, [r4, r2, lsl #1]  \n" \
    "str    r9, [r4], #4          \n"

/* r0 plane 0, r4 plane 1, r1 from, r2 size, r3 pixel, r5 a mask, r8 pixels left less 2, r11 rows, r12 w, lr zero. The
 * stack: 0 where the row goes, 4 where it comes from. */
static __attribute__((naked)) void widen_four(ND_UNUSED uint32_t *to, ND_UNUSED const int8_t *from,
                                              ND_UNUSED int32_t rows, ND_UNUSED const widening *w)
{
    __asm__ volatile(
        "push   {r0, r1, r4-r11, lr} \n"
        "mov    r11, r2         \n"
        "mov    r12, r3         \n"
        "mov    r5, #0xFF00FF00 \n"
        "ldmia  r12, {r2, r3, lr} \n"
        "1:                     \n" /* a row */
        "ldrd   r6, r8, [r12, #12] \n"
        "add    r4, r0, r2      \n"
        "cbz    r6, 4f          \n"
        "mov    r6, lr          \n"
        "ldr    r7, [r1]        \n"
        "add    r1, r1, r3      \n"
        "b      3f              \n"
        "2:                     \n"
        "ldr    r7, [r1, r3]    \n"
        "ldr    r6, [r1]        \n"
        "add    r1, r1, r3, lsl #1 \n"
        "3:                     \n"
        PUT
        "4:                     \n"
        "subs   r8, r8, #2      \n"
        "bge    2b              \n"
        "adds   r8, r8, #1      \n"
        "bne    5f              \n"
        "ldr    r6, [r1]        \n" /* one pixel is left */
        "mov    r7, lr          \n"
        "b      3b              \n"
        "5:                     \n"
        "ldrd   r0, r1, [sp]    \n"
        "ldrd   r6, r7, [r12, #20] \n"
        "add    r0, r0, r6      \n"
        "add    r1, r1, r7      \n"
        "strd   r0, r1, [sp]    \n"
        "subs   r11, r11, #1    \n"
        "bne    1b              \n"
        "pop    {r0, r1, r4-r11, pc} \n");
}

#else

static void put(uint32_t *to, int32_t size, uint32_t one, uint32_t two)
{
    for (int32_t c = 0; c < 4; c++, to += size)
        *to = nd_pair((int32_t)(one >> 8 * c & 0xFFu) * 256, (int32_t)(two >> 8 * c & 0xFFu) * 256);
}

static void widen_four(uint32_t *to, const int8_t *from, int32_t rows, const widening *w)
{
    for (; rows > 0; rows--, to += w->to_row / 4, from += w->from_row) {
        const int8_t *pixel = from;
        uint32_t *word = to;
        int32_t left = w->pixels;
        if (w->odd) {
            put(word++, w->size / 4, w->zero, nd_load_word(pixel));
            pixel += w->pixel;
        }
        for (; left > 1; left -= 2, pixel += 2 * w->pixel)
            put(word++, w->size / 4, nd_load_word(pixel), nd_load_word(pixel + w->pixel));
        if (left > 0)
            put(word, w->size / 4, nd_load_word(pixel), w->zero);
    }
}

#endif

/* One channel to one plane. */
static ND_NOINLINE void widen_one(uint32_t *to, const int8_t *from, int32_t rows, const job *j)
{
    const widening *w = &j->widening;
    const int32_t pixels = w->odd + w->pixels;
    for (; rows > 0; rows--, to += j->row, from += w->from_row) {
        ND_NO_UNROLL
        for (int32_t i = 0; i < pixels; i++) {
            uint32_t *word = to + (w->odd + i) / 2;
            const int32_t x = from[i * w->pixel] * 256;
            *word = (w->odd + i) % 2 ? nd_pair(nd_low(*word), x) : nd_pair(x, nd_high(*word));
        }
    }
}

static ND_NOINLINE void widen(uint32_t *to, const int8_t *from, int32_t rows, int32_t channels, const job *j)
{
    if (j->widening.odd + j->widening.pixels <= 0)
        return; /* the windows lie beside the image */
    if (channels == 4)
        widen_four(to, from, rows, &j->widening);
    else
        ND_NO_UNROLL
        for (; channels > 0; channels--, to += j->size)
            widen_one(to, from++, rows, j);
}

/* The zero point to words of a plane. */
static ND_NOINLINE void fill(uint32_t *to, int32_t words, const job *j)
{
    const uint32_t zero = j->widening.zero & 0xFF00FF00u;
    ND_NO_UNROLL
    for (; words > 3; words -= 4, to += 4)
        to[0] = to[1] = to[2] = to[3] = zero;
    ND_NO_UNROLL
    for (; words > 0; words--)
        *to++ = zero;
}

/* Words of a plane to its top. */
static ND_NOINLINE void move_up(uint32_t *to, const uint32_t *from, int32_t words)
{
    ND_NO_UNROLL
    for (; words > 3; words -= 4, to += 4, from += 4) {
        to[0] = from[0];
        to[1] = from[1];
        to[2] = from[2];
        to[3] = from[3];
    }
    ND_NO_UNROLL
    for (; words > 0; words--)
        *to++ = *from++;
}

/* Rows of the image from y on to `count` rows of the planes from `first` on. */
static ND_NOINLINE void read_rows(int32_t first, int32_t count, const int8_t *image, int32_t y, int32_t channels,
                                  const job *j)
{
    const nd_conv_params *p = j->p;
    uint32_t *to = j->top + first * j->row;
    const int32_t above = nd_min(nd_max(-y, 0), count);
    const int32_t inside = nd_max(nd_min(p->input_height - y, count) - above, 0);
    ND_NO_UNROLL
    for (int32_t c = 0; c < 4; c++) {
        fill(to + c * j->size, above * j->row, j);
        fill(to + c * j->size + (above + inside) * j->row, (count - above - inside) * j->row, j);
    }
    if (inside > 0)
        widen(to + above * j->row + p->pad_left / 2, image + (y + above) * j->widening.from_row, inside, channels, j);
}

/* The rows of taps inside the image of rows of outputs from y on, see nd_plane.h. */
static ND_NOINLINE void find_inside(int32_t y, const job *j)
{
    const nd_conv_params *p = j->p;
    const int32_t taps = p->filter_height, step = p->dilation_height;
    uint32_t *to = j->plane->more + taps * p->filter_width + 1;
    int32_t top = y * p->stride_height - p->pad_top;
    ND_NO_UNROLL
    for (int32_t n = p->filter_width > 3 ? j->plane->height : 0; n > 0; n--, top += p->stride_height) {
        const int32_t first = nd_min(top < 0 ? (step - 1 - top) / step : 0, taps - 1);
        const int32_t end = nd_min(top < p->input_height ? (p->input_height - top + step - 1) / step : 0, taps);
        *to++ = (uint32_t)first | (uint32_t)nd_max(end - first, 1) << 16;
    }
}

/* One to four channels from c on, of the rows that the planes hold. */
static ND_NOINLINE void convolve(int8_t *out, int32_t c, int32_t channels, const job *j)
{
    nd_plane_kernel *kernel = j->kernel;
    nd_plane *plane = j->plane;
    const int32_t size = j->size, taps = j->taps;
    const uint32_t *x = j->top;
    const int8_t *weights = j->p->weights + c * taps;
    const int32_t *channel = j->p->bias + c * 4;
    ND_NO_UNROLL
    for (; channels > 0; channels--, x += size, weights += taps, channel += 4)
        kernel(out++, x, plane, weights, channel);
}

/* An image of which the planes hold all rows; those outside the image are there. */
static void convolve_whole(int8_t *output, const int8_t *image, int32_t rows, const job *j)
{
    const nd_conv_params *p = j->p;
    const int32_t above = nd_max(p->pad_top, 0), first = nd_max(-p->pad_top, 0);
    const int32_t inside = nd_min(p->input_height - first, rows - above);
    uint32_t *to = j->top + above * j->row + p->pad_left / 2;
    image += first * j->widening.from_row;
    j->plane->height = p->output_height;
    find_inside(0, j);
    ND_NO_UNROLL
    for (int32_t c = 0; c < p->output_channels; c += 4) {
        const int32_t channels = nd_min(p->output_channels - c, 4);
        if (inside > 0)
            widen(to, image + c, inside, channels, j);
        convolve(output + c, c, channels, j);
    }
}

/* An image in bands of `height` rows of outputs. The last `keep` rows of one are the first of the next. */
static void convolve_bands(int8_t *output, const int8_t *image, int32_t height, int32_t reach, const job *j)
{
    const nd_conv_params *p = j->p;
    const int32_t stride = p->stride_height, keep = nd_max(reach - stride, 0);
    ND_NO_UNROLL
    for (int32_t c = 0; c < p->output_channels; c += 4) {
        const int32_t channels = nd_min(p->output_channels - c, 4);
        int32_t kept = 0;
        ND_NO_UNROLL
        for (int32_t y = 0; y < p->output_height; y += height) {
            j->plane->height = nd_min(height, p->output_height - y);
            find_inside(y, j);
            ND_NO_UNROLL
            for (int32_t n = 0; n < 4 && kept > 0; n++)
                move_up(j->top + n * j->size, j->top + n * j->size + height * stride * j->row, kept * j->row);
            read_rows(kept, (j->plane->height - 1) * stride + reach - kept, image + c, y * stride + kept - p->pad_top,
                      channels, j);
            convolve(output + y * p->output_width * p->output_channels + c, c, channels, j);
            kept = keep;
        }
    }
}

static void clamp_all(int8_t *out, int32_t count, const nd_conv_params *p)
{
    if (p->activation_min > -128 || p->activation_max < 127) {
        ND_NO_UNROLL
        for (int32_t i = 0; i < count; i++)
            out[i] = (int8_t)nd_clamp(out[i], p->activation_min, p->activation_max);
    }
}

void nd_depthwise_dsp(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p,
                      nd_plane_kernel *kernel)
{
    nd_plane *plane = (nd_plane *)scratch;
    const int32_t row = (p->output_width * p->stride_width + p->filter_width + 2) / 2, odd = p->pad_left % 2;
    const int32_t pixels = nd_min(p->input_width, 2 * row - p->pad_left); /* of a row that are used */
    const int32_t reach = (p->filter_height - 1) * p->dilation_height + 1;
    const int32_t height = (rows - reach) / p->stride_height + 1; /* rows of outputs that rows of planes are good for */
    const int32_t count = p->output_height * p->output_width * p->output_channels;
    const int32_t inside = nd_min(height, p->output_height), taps = p->filter_height * p->filter_width;
    const job j = {p, kernel, plane, plane->more + (p->filter_width > 3 ? taps + 1 + inside : 0), row, rows * row,
                   taps,
                   {4 * rows * row, p->input_channels, (uint32_t)(p->input_zero_point & 0xFF) * 0x01010101u, odd,
                    pixels - odd, 4 * row, p->input_width * p->input_channels}};
    plane->tap_step = 4 * row * p->dilation_height;
    plane->row_step = 4 * row * p->stride_height;
    plane->width = p->output_width;
    plane->step = p->output_channels;
    plane->filter_height = p->filter_height;
    plane->zero = j.widening.zero & 0xFF00FF00u;
    fill(j.top, 4 * j.size, &j);
    ND_NO_UNROLL
    for (int32_t batch = 0; batch < p->batches; batch++, output += count) {
        if (height >= p->output_height)
            convolve_whole(output, input, rows, &j);
        else
            convolve_bands(output, input, height, reach, &j);
        clamp_all(output, count, p);
        input += p->input_height * p->input_width * p->input_channels;
    }
}
