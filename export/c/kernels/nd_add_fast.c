/* output = clamp((factor1 * input1 + factor2 * input2 + offset + rounding) >> shift), broadcast: ADD and SUB where the
 * compiler has found numbers that give the reference's bytes for all 65 536 pairs of inputs (see sum_formula.py).
 *
 * Where `away` is 1, halves go away from zero: 1 is taken off a negative sum, of all but `rounding`. No sum leaves
 * int32, partial ones included.
 * Element by element: the output may take the place of an input of its own size. */
#include "ndtool_kernels.h"

typedef struct {
    int32_t factor1, factor2, offset, rounding, shift;
} formula;

static ND_NOINLINE void add_row(int8_t *output, const int8_t *a, const int8_t *b, int32_t count, const formula *f)
{
    const int32_t factor1 = f->factor1, factor2 = f->factor2, offset = f->offset + f->rounding, shift = f->shift;

    ND_NO_UNROLL
    for (int32_t i = 0; i < count; i++)
        output[i] = (int8_t)nd_clamp((factor1 * a[i] + factor2 * b[i] + offset) >> shift, -128, 127);
}

static ND_NOINLINE void add_row_away(int8_t *output, const int8_t *a, const int8_t *b, int32_t count, const formula *f)
{
    const int32_t factor1 = f->factor1, factor2 = f->factor2, offset = f->offset, rounding = f->rounding;
    const int32_t shift = f->shift;

    ND_NO_UNROLL
    for (int32_t i = 0; i < count; i++) {
        const int32_t sum = factor1 * a[i] + factor2 * b[i] + offset;

        output[i] = (int8_t)nd_clamp((sum + (sum >> 31) + rounding) >> shift, -128, 127);
    }
}

/* A row; an input that stays in place is a part of the offset. */
static void add_any_row(int8_t *output, const int8_t *a, const int8_t *b, const nd_add_fast_params *p)
{
    const int32_t count = p->broadcast.size[3];
    formula f = {p->factor1, p->factor2, p->offset, p->rounding, p->shift};

    if (p->broadcast.step1[3] == 0) {
        f.offset += f.factor1 * *a;
        f.factor1 = 0;
        a = b;
    } else if (p->broadcast.step2[3] == 0) {
        f.offset += f.factor2 * *b;
        f.factor2 = 0;
        b = a;
    }
    if (p->away)
        add_row_away(output, a, b, count, &f);
    else
        add_row(output, a, b, count, &f);
    nd_clamp_bytes(output, count, p->activation_min, p->activation_max);
}

void nd_add_fast(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_fast_params *p)
{
    const nd_broadcast *s = &p->broadcast;

    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                add_any_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                            input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], p);
                output += s->size[3];
            }
        }
    }
}
