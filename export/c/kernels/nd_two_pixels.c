/* Two pixels of a convolution: out0 and out1 get channels [first, first + count) of the products of the k bytes at x0
 * and at x1 with the rows of weights. Two channels at a time, so that four sums share what is loaded. */
#include "ndtool_kernels.h"

/* Adds the products of both x with both w. A function of its own, so that everything in the loop is in registers. */
static ND_NOINLINE void dot(int32_t sum[4], const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1,
                            int32_t k)
{
    int32_t s00 = sum[0], s01 = sum[1], s10 = sum[2], s11 = sum[3];
    ND_NO_UNROLL
    for (; k > 0; k--) {
        const int32_t a0 = *x0++, a1 = *x1++, b0 = *w0++, b1 = *w1++;
        s00 += a0 * b0;
        s01 += a0 * b1;
        s10 += a1 * b0;
        s11 += a1 * b1;
    }
    sum[0] = s00;
    sum[1] = s01;
    sum[2] = s10;
    sum[3] = s11;
}

static inline int8_t finish(int32_t sum, int32_t c, const nd_conv_params *p)
{
    const int32_t m = c * p->channel_step;
    return nd_output(nd_requantize(sum, p->multipliers[m], p->shifts[m]), p->output_zero_point, p->activation_min,
                     p->activation_max);
}

void nd_two_pixels(int8_t *out0, int8_t *out1, const int8_t *x0, const int8_t *x1, int32_t k, int32_t first,
                   int32_t count, const nd_conv_params *p)
{
    const int32_t last = first + count - 1;
    for (int32_t c = first; c <= last; c += 2) {
        const int32_t d = nd_min(c + 1, last); /* the last of an odd number is computed twice */
        int32_t sum[4] = {p->bias[c], p->bias[d], p->bias[c], p->bias[d]};
        dot(sum, x0, x1, p->weights + c * k, p->weights + d * k, k);
        out0[c] = finish(sum[0], c, p);
        out0[d] = finish(sum[1], d, p);
        out1[c] = finish(sum[2], c, p);
        out1[d] = finish(sum[3], d, p);
    }
}
