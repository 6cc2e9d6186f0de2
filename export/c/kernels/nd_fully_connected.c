/* output[r][n] = clamp(zero_point + round(scale[n] * (bias[n] + sum of weights[n] * input[r]))), rounded once, halves
 * away from zero. The compiler checks for every multiplier that this equals LiteRT's double precision for every sum
 * that can occur, see quantisation.py; else it takes nd_fully_connected_double. Four outputs at a time. */
#include "ndtool_kernels.h"

static inline int8_t finish(int32_t sum, int32_t n, const nd_fully_connected_params *p)
{
    const int32_t m = n * p->channel_step;
    return nd_output(nd_requantize_once(sum, p->multipliers[m], p->shifts[m]), p->output_zero_point, p->activation_min,
                     p->activation_max);
}

static void row(int8_t *output, const int8_t *input, const nd_fully_connected_params *p)
{
    const int32_t k = p->inputs;
    const int8_t *w = p->weights;
    int32_t n = 0;
    for (; n + 4 <= p->outputs; n += 4, w += 4 * k) {
        const int8_t *w1 = w + k, *w2 = w1 + k, *w3 = w2 + k;
        int32_t a0 = p->bias[n], a1 = p->bias[n + 1], a2 = p->bias[n + 2], a3 = p->bias[n + 3];
        ND_NO_UNROLL
        for (int32_t i = 0; i < k; i++) {
            a0 += input[i] * w[i];
            a1 += input[i] * w1[i];
            a2 += input[i] * w2[i];
            a3 += input[i] * w3[i];
        }
        output[n] = finish(a0, n, p);
        output[n + 1] = finish(a1, n + 1, p);
        output[n + 2] = finish(a2, n + 2, p);
        output[n + 3] = finish(a3, n + 3, p);
    }
    for (; n < p->outputs; n++, w += k) {
        int32_t a = p->bias[n];
        for (int32_t i = 0; i < k; i++)
            a += input[i] * w[i];
        output[n] = finish(a, n, p);
    }
}

void nd_fully_connected(int8_t *output, const int8_t *input, const nd_fully_connected_params *p)
{
    for (int32_t r = 0; r < p->rows; r++)
        row(output + r * p->outputs, input + r * p->inputs, p);
}
