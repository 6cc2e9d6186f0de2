/* output = -128 + 256 * exp(beta * scale * (x - max)) / sum(exp(...)) over each row, in integers.
 *
 * exponentials[d] is exp(-d * beta * scale) in Q0.31 for the differences d = max - x that count; larger ones give -128.
 * The sum is taken in Q12.19 (each term rounded), its reciprocal by three steps of Newton and Raphson in Q2.29,
 * started at 48/17 - 32/17 * d: https://en.wikipedia.org/wiki/Division_algorithm#Newton-Raphson_division
 * A row is read whole before it is written: the output may take the input's place. At most 4095 values a row. */
#include "ndtool_kernels.h"

#define SUM_INTEGER_BITS 12

/* Leading zeros of x > 0. */
static int32_t leading_zeros(uint32_t x)
{
    int32_t zeros = 0;

    while (!(x & 0x80000000u)) {
        x <<= 1;
        zeros++;
    }
    return zeros;
}

/* 1 / (1 + x) in Q0.31 for x in [0, 1), Q0.31. */
static int32_t reciprocal_of_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((uint32_t)x + 0x80000000u) >> 1); /* (1 + x) / 2 */
    int32_t y = 1515870810 + nd_high_mul(half, -1010580540);

    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - nd_high_mul(half, y);

        y += nd_high_mul(y, error) * 4;
    }
    return y > 0x3fffffff ? INT32_MAX : y * 2;
}

void nd_softmax(int8_t *output, const int8_t *input, int32_t rows, int32_t depth, const int32_t *exponentials,
                int32_t differences)
{
    for (int32_t row = 0; row < rows; row++) {
        int32_t max = -128, sum = 0;

        for (int32_t i = 0; i < depth; i++) {
            max = input[i] > max ? input[i] : max;
        }
        for (int32_t i = 0; i < depth; i++) {
            const int32_t d = max - input[i];

            sum += d < differences ? ((exponentials[d] >> (SUM_INTEGER_BITS - 1)) + 1) >> 1 : 0;
        }
        /* The real sum is (1 + fraction) * 2^(SUM_INTEGER_BITS - zeros). */
        const int32_t zeros = leading_zeros((uint32_t)sum);
        const int32_t scale = reciprocal_of_one_plus((int32_t)(((uint32_t)sum << zeros) & 0x7fffffffu));
        const int32_t shift = SUM_INTEGER_BITS - zeros + 31 - 8;

        for (int32_t i = 0; i < depth; i++) {
            const int32_t d = max - input[i];
            int32_t value = 0;

            if (d < differences && shift < 32) {
                value = nd_rounding_divide_by_pot(nd_high_mul(scale, exponentials[d]), shift);
            }
            output[i] = (int8_t)(value > 255 ? 127 : value - 128);
        }
        input += depth;
        output += depth;
    }
}
