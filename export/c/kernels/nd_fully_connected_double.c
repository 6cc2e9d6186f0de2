/* nd_fully_connected.c in double precision, as LiteRT computes it: for the rare scales whose rounding no 31-bit
 * multiplier can follow over the whole range of sums. The compiler checks that no result leaves int32. */
#include "ndtool_kernels.h"

/* Halves away from zero, like round(). */
static int32_t nearest(double x)
{
    const int32_t whole = (int32_t)x;
    const double fraction = x - (double)whole; /* exact */
    return whole + (fraction >= 0.5) - (fraction <= -0.5);
}

void nd_fully_connected_double(int8_t *output, const int8_t *input, const nd_fully_connected_params *p)
{
    for (int32_t r = 0; r < p->rows; r++, input += p->inputs) {
        const int8_t *w = p->weights;
        for (int32_t n = 0; n < p->outputs; n++, w += p->inputs) {
            int32_t sum = p->bias[n];
            for (int32_t i = 0; i < p->inputs; i++)
                sum += input[i] * w[i];
            *output++ = nd_output(nearest(sum * p->scales[n * p->channel_step]), p->output_zero_point,
                                  p->activation_min, p->activation_max);
        }
    }
}
