/* The largest of each window, clamped. What lies outside the image does not count. Input and output have the same scale
 * and zero point.
 *
 * A pixel is read while it is written: the output may trail the input in the same memory. By words: four channels at a
 * time. */
#include "nd_dsp.h"
#include "nd_words.h"

static void largest_four(int8_t *output, const int8_t *first, int32_t rows, int32_t columns, const nd_pool_params *p)
{
    uint32_t largest = nd_load_word(first);

    for (; rows > 0; rows--, first += p->input_width * p->channels) {
        const int8_t *in = first;
        ND_NO_UNROLL
        for (int32_t n = columns; n > 0; n--, in += p->channels)
            largest = nd_max_bytes(largest, nd_load_word(in));
    }
    nd_store_word(output, largest);
}

static void largest_one(int8_t *output, const int8_t *first, int32_t rows, int32_t columns, const nd_pool_params *p)
{
    int32_t largest = *first;

    for (; rows > 0; rows--, first += p->input_width * p->channels) {
        const int8_t *in = first;
        ND_NO_UNROLL
        for (int32_t n = columns; n > 0; n--, in += p->channels)
            largest = nd_max(largest, *in);
    }
    *output = (int8_t)largest;
}

/* One pixel: the windows that begin at `first`, of all channels. */
static void largest(int8_t *output, const int8_t *first, int32_t rows, int32_t columns, const nd_pool_params *p)
{
    int32_t c = 0;

    for (; ND_WORDS && c + 4 <= p->channels; c += 4)
        largest_four(output + c, first + c, rows, columns, p);
    for (; c < p->channels; c++)
        largest_one(output + c, first + c, rows, columns, p);
    nd_clamp_bytes(output, p->channels, p->activation_min, p->activation_max);
}

void nd_max_pool(int8_t *output, const int8_t *input, const nd_pool_params *p)
{
    for (int32_t b = 0; b < p->batches; b++, input += p->input_height * p->input_width * p->channels) {
        for (int32_t y = 0; y < p->output_height; y++) {
            const int32_t first_row = nd_max(y * p->stride_height - p->pad_top, 0);
            const int32_t end_row = nd_min(y * p->stride_height - p->pad_top + p->filter_height, p->input_height);
            for (int32_t x = 0; x < p->output_width; x++) {
                const int32_t first = nd_max(x * p->stride_width - p->pad_left, 0);
                const int32_t end = nd_min(x * p->stride_width - p->pad_left + p->filter_width, p->input_width);
                largest(output, input + (first_row * p->input_width + first) * p->channels, end_row - first_row,
                        end - first, p);
                output += p->channels;
            }
        }
    }
}
