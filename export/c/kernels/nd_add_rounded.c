/* What nd_add computes, in its three steps, with the shifts resolved: where the output's shift is to the right.
 *
 * A step is nd_requantize_fast but for the clamp. An input's multiplier without a shift is 1/2, which rounds nothing.
 * Element by element: the output may take the place of an input of its own size. */
#include "nd_dsp.h"

#define LEFT_SHIFT 20

typedef struct {
    int32_t multiplier, half, right, zero, ties; /* half a step, twice the zero point as it is shifted, -1 or 0 */
} scaling;

static scaling scaling_of(int32_t zero_point, int32_t multiplier, int32_t shift)
{
    const int32_t half = shift < 0 ? (int32_t)(UINT32_C(1) << (-shift - 1)) : 0;
    const scaling s = {multiplier, half, -shift, zero_point * (2 << LEFT_SHIFT), shift < 0 ? -1 : 0};
    return s;
}

/* M * (x - zero point) * 2^20 */
static inline int32_t rescaled(int32_t x, const scaling *s)
{
    const int32_t twice = x * (2 << LEFT_SHIFT) - s->zero;

    return (nd_smmlar(twice, s->multiplier, s->half) + (twice >> 31 & s->ties)) >> s->right;
}

static ND_NOINLINE void add_row(int8_t *output, const int8_t *a, const int8_t *b, const nd_add_params *p)
{
    const scaling one = scaling_of(p->input1_zero_point, p->input1_multiplier, p->input1_shift);
    const scaling two = scaling_of(p->input2_zero_point, p->input2_multiplier, p->input2_shift);
    const int32_t step1 = p->broadcast.step1[3], step2 = p->broadcast.step2[3], sign = p->sign;
    const int32_t multiplier = p->output_multiplier, rounding = p->rounding, shift = -p->output_shift;

    ND_NO_UNROLL
    for (const int8_t *end = output + p->broadcast.size[3]; output < end; a += step1, b += step2) {
        const int32_t sum = rescaled(*a, &one) + sign * rescaled(*b, &two);

        *output++ = (int8_t)nd_requantize_fast(sum, multiplier, rounding, shift);
    }
}

void nd_add_rounded(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_params *p)
{
    const nd_broadcast *s = &p->broadcast;

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                add_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                        input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], p);
                nd_clamp_bytes(output, s->size[3], p->activation_min, p->activation_max);
                output += s->size[3];
            }
        }
    }
}
