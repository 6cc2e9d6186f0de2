/* Adds to each of `channels` sums the bytes of its channel: those at first, first + 1, ... of every column of every
 * row, steps in bytes. The sums must fit 32 bits.
 *
 * By words: four channels at a time as pairs of int16, which hold the sum of 256 bytes; a single channel whose bytes
 * follow one another four bytes at a time. */
#include "nd_dsp.h"
#include "nd_words.h"

#define COLUMNS_IN_16_BITS 256

typedef struct {
    int32_t rows, row_step, columns, column_step;
} window;

static ND_NOINLINE void sum_words(int32_t *sums, const int8_t *first, const window *w)
{
    const int32_t step = w->column_step;

    for (int32_t rows = w->rows; rows > 0; rows--, first += w->row_step) {
        const int8_t *in = first;
        for (int32_t left = w->columns; left > 0; left -= COLUMNS_IN_16_BITS) {
            uint32_t even = 0, odd = 0;
            int32_t n = nd_min(left, COLUMNS_IN_16_BITS);
            ND_NO_UNROLL
            for (; n >= 4; n -= 4) {
                const uint32_t a = nd_load_word(in), b = nd_load_word(in + step);
                in += 2 * step;
                const uint32_t c = nd_load_word(in), d = nd_load_word(in + step);
                in += 2 * step;
                even = nd_add_even_bytes(nd_add_even_bytes(even, a), b);
                odd = nd_add_odd_bytes(nd_add_odd_bytes(odd, a), b);
                even = nd_add_even_bytes(nd_add_even_bytes(even, c), d);
                odd = nd_add_odd_bytes(nd_add_odd_bytes(odd, c), d);
            }
            ND_NO_UNROLL
            for (; n > 0; n--, in += step) {
                const uint32_t a = nd_load_word(in);
                even = nd_add_even_bytes(even, a);
                odd = nd_add_odd_bytes(odd, a);
            }
            sums[0] += nd_low(even);
            sums[1] += nd_low(odd);
            sums[2] += nd_high(even);
            sums[3] += nd_high(odd);
        }
    }
}

static void sum_bytes(int32_t *sums, const int8_t *first, const window *w)
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];

    for (int32_t rows = w->rows; rows > 0; rows--, first += w->row_step) {
        const int8_t *in = first;
        ND_NO_UNROLL
        for (int32_t n = w->columns; n > 0; n--, in += w->column_step) {
            s0 += in[0];
            s1 += in[1];
            s2 += in[2];
            s3 += in[3];
        }
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static int32_t sum_one(const int8_t *first, const window *w)
{
    const uint32_t ones = 0x00010001u;
    int32_t sum = 0;

    for (int32_t rows = w->rows; rows > 0; rows--, first += w->row_step) {
        const int8_t *in = first;
        int32_t n = w->columns;
        if (ND_WORDS && w->column_step == 1) {
            ND_NO_UNROLL
            for (; n >= 4; n -= 4, in += 4) {
                const uint32_t word = nd_load_word(in);
                sum = nd_smlad(nd_odd_bytes(word), ones, nd_smlad(nd_even_bytes(word), ones, sum));
            }
        }
        ND_NO_UNROLL
        for (; n > 0; n--, in += w->column_step)
            sum += *in;
    }
    return sum;
}

void nd_sum_channels(int32_t *sums, int32_t channels, const int8_t *first, int32_t rows, int32_t row_step,
                     int32_t columns, int32_t column_step)
{
    const int whole = row_step == columns * column_step;
    const window w = {whole ? 1 : rows, row_step, whole ? rows * columns : columns, column_step};

    ND_NO_UNROLL
    for (; channels >= 4; channels -= 4, sums += 4, first += 4) {
        if (ND_WORDS)
            sum_words(sums, first, &w);
        else
            sum_bytes(sums, first, &w);
    }
    ND_NO_UNROLL
    for (; channels > 0; channels--)
        *sums++ += sum_one(first++, &w);
}
