/* Depthwise convolution, one output channel for each input channel, for cores with the DSP extension: what nd_depthwise
 * computes, with filters of 3, 5 or 7 columns, any stride and dilation along the rows and any padding. The kernels
 * nd_depthwise_3, ... are this one with the inner loops of a width and a stride, see nd_plane.h.
 *
 * Four channels at a time: a band of their rows becomes four planes of int16, padded with the input's zero point (which
 * the bias has in it, as for convolutions), then one channel after the other is convolved. A row is read once; what the
 * next band needs of it is moved to the top of the planes.
 *
 * `scratch`: an nd_plane with the taps of a channel, then four planes of `rows` rows. A row has room for
 * input[0] to input[output_width * stride_width + filter_width], rounded up to whole words. `weights` are
 * [channel][height][width], filled up with zeros; `channels` has four words each: 256 times the bias, multiplier,
 * rounding, shift.
 *
 * Channel by channel, a band is read before its outputs are written: the output may take the place of the input if it
 * begins as many whole pixels before it as bands at their ends are ahead of what is read. */
#include "nd_dsp.h"
#include "nd_plane.h"

/* Four planes. Sizes in words. */
typedef struct {
    uint32_t *top;
    int32_t row, size; /* of one row of one plane, of one plane */
    int32_t pixels;    /* of a row of the image that are used */
    uint32_t zero;     /* the zero point in every byte */
} planes;

/* Four channels of two neighbouring pixels, 256 times, to one word in each plane. */
static inline void put(uint32_t *to, int32_t size, uint32_t one, uint32_t two)
{
    const uint32_t low = (one & 0xFFFFu) | two << 16, high = one >> 16 | (two & 0xFFFF0000u);
    to[0] = low << 8 & 0xFF00FF00u;
    to[size] = low & 0xFF00FF00u;
    to[2 * size] = high << 8 & 0xFF00FF00u;
    to[3 * size] = high & 0xFF00FF00u;
}

/* Up to four bytes as a word. */
static inline uint32_t load(const int8_t *from, int32_t channels)
{
    uint32_t word = 0;
    if (channels == 4)
        return nd_load_word(from);
    for (int32_t c = 0; c < channels; c++)
        word |= (uint32_t)(uint8_t)from[c] << 8 * c;
    return word;
}

static inline void widen(uint32_t *to, const int8_t *from, int32_t channels, const planes *v, const nd_conv_params *p)
{
    const int32_t step = p->input_channels, size = v->size;
    int32_t left = v->pixels;
    to += p->pad_left / 2;
    if (p->pad_left % 2 && left > 0) {
        put(to++, size, v->zero, load(from, channels));
        from += step;
        left--;
    }
    ND_NO_UNROLL
    for (; left > 1; left -= 2, from += 2 * step)
        put(to++, size, load(from, channels), load(from + step, channels));
    if (left > 0)
        put(to, size, load(from, channels), v->zero);
}

static ND_NOINLINE void widen_four(uint32_t *to, const int8_t *from, const planes *v, const nd_conv_params *p)
{
    widen(to, from, 4, v, p);
}

static ND_NOINLINE void widen_few(uint32_t *to, const int8_t *from, int32_t channels, const planes *v,
                                  const nd_conv_params *p)
{
    widen(to, from, channels, v, p);
}

static ND_NOINLINE void fill(uint32_t *to, int32_t words, const planes *v)
{
    ND_NO_UNROLL
    for (; words > 0; words--)
        *to++ = v->zero & 0xFF00FF00u;
}

/* Rows of the image from y on to `count` rows of the planes from `first` on. */
static void read_rows(int32_t first, int32_t count, const int8_t *image, int32_t y, int32_t channels, int32_t refill,
                      const planes *v, const nd_conv_params *p)
{
    uint32_t *to = v->top + first * v->row;
    for (; count > 0; count--, y++, to += v->row) {
        if (y >= 0 && y < p->input_height) {
            const int8_t *from = image + y * p->input_width * p->input_channels;
            if (channels == 4)
                widen_four(to, from, v, p);
            else
                widen_few(to, from, channels, v, p);
        } else if (refill) {
            for (int32_t c = 0; c < 4; c++)
                fill(to + c * v->size, v->row, v);
        }
    }
}

/* `count` rows from `first` on to the top. */
static ND_NOINLINE void move_up(int32_t first, int32_t count, const planes *v)
{
    for (int32_t c = 0; c < 4; c++) {
        uint32_t *to = v->top + c * v->size;
        const uint32_t *from = to + first * v->row;
        ND_NO_UNROLL
        for (int32_t words = count * v->row; words > 0; words--)
            *to++ = *from++;
    }
}

/* What is a channel's own in nd_plane. */
static ND_NOINLINE void set_channel(nd_plane *plane, int32_t c, const nd_conv_params *p)
{
    const int32_t width = p->filter_width, *words = p->channels + 4 * c;
    const int8_t *w = p->weights + c * p->filter_height * width;
    uint32_t *to = plane->taps;
    plane->bias[0] = plane->bias[1] = plane->bias[2] = plane->bias[3] = words[0];
    plane->multiplier = words[1];
    plane->rounding = words[2];
    plane->shift = words[3];
    ND_NO_UNROLL
    for (int32_t i = p->filter_height; i > 0; i--) {
        int32_t one = w[0], two = w[1], three = w[2];
        to[0] = nd_pair(one, two);
        to[1] = nd_pair(two, three);
        to += 2;
        w += 3;
        for (int32_t k = width - 3; k > 0; k -= 2, w += 2, to += 2) {
            two = w[0];
            to[0] = nd_pair(three, two);
            three = w[1];
            to[1] = nd_pair(two, three);
        }
    }
}

static void clamp_all(int8_t *out, int32_t count, const nd_conv_params *p)
{
    if (p->activation_min > -128 || p->activation_max < 127)
        for (int32_t i = 0; i < count; i++)
            out[i] = (int8_t)nd_clamp(out[i], p->activation_min, p->activation_max);
}

/* One to four channels of one image, band by band. */
static void some_channels(int8_t *output, const int8_t *image, int32_t c, int32_t rows, nd_plane *plane,
                          const planes *v, const nd_conv_params *p, nd_plane_kernel *kernel)
{
    const int32_t channels = nd_min(p->output_channels - c, 4), stride = p->stride_height;
    const int32_t reach = (p->filter_height - 1) * p->dilation_height + 1;
    const int32_t band = nd_min((rows - reach) / stride + 1, p->output_height), keep = nd_max(reach - stride, 0);
    int32_t kept = 0;
    for (int32_t y = 0; y < p->output_height; y += band) {
        plane->height = nd_min(band, p->output_height - y);
        const int32_t needed = (plane->height - 1) * stride + reach;
        read_rows(kept, needed - kept, image + c, y * stride + kept - p->pad_top, channels, band < p->output_height,
                  v, p);
        for (int32_t n = 0; n < channels; n++) {
            set_channel(plane, c + n, p);
            kernel(output + y * p->output_width * p->output_channels + c + n, v->top + n * v->size, plane);
        }
        if (y + band < p->output_height)
            move_up(band * stride, kept = keep, v);
    }
}

void nd_depthwise_dsp(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p,
                      nd_plane_kernel *kernel)
{
    nd_plane *plane = (nd_plane *)scratch;
    const int32_t columns = p->output_width * p->stride_width + p->filter_width + 1;
    const int32_t row = (columns + 1) / 2;
    const planes v = {plane->taps + p->filter_height * (p->filter_width - 1), row, rows * row,
                      nd_min(p->input_width, 2 * row - p->pad_left),
                      (uint32_t)(p->input_zero_point & 0xFF) * 0x01010101u};
    plane->tap_step = 4 * row * p->dilation_height;
    plane->row_step = 4 * row * p->stride_height;
    plane->width = p->output_width;
    plane->step = p->output_channels;
    plane->filter_height = p->filter_height;
    fill(v.top, 4 * v.size, &v);
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t c = 0; c < p->output_channels; c += 4)
            some_channels(output, input, c, rows, plane, &v, p, kernel);
        clamp_all(output, p->output_height * p->output_width * p->output_channels, p);
        output += p->output_height * p->output_width * p->output_channels;
        input += p->input_height * p->input_width * p->input_channels;
    }
}
