/* output[i . output_step] = input[i . input_step] for every index i below size, in runs of `run` bytes that are
 * contiguous in both. Transpositions, slices, splits, concatenations and the like are such copies. Steps and offsets
 * are in bytes; input steps may be negative (reversed slices) or 0 (repetition). */
#include "nd_dsp.h"

#define LONG 16 /* bytes from which on a call of memcpy pays */

static ND_NOINLINE void copy_bytes(int8_t *output, const int8_t *input, int32_t output_step, int32_t input_step,
                                   int32_t count)
{
    for (; count > 0; count--) {
        *output = *input;
        output += output_step;
        input += input_step;
    }
}

static void copy_short(int8_t *output, const int8_t *input, int32_t bytes)
{
    ND_NO_UNROLL
    for (; bytes >= 4; bytes -= 4, output += 4, input += 4)
        nd_store_word(output, nd_load_word(input));
    ND_NO_UNROLL
    for (; bytes > 0; bytes--)
        *output++ = *input++;
}

static void copy_row(int8_t *output, const int8_t *input, const nd_copy_params *p)
{
    const int32_t output_step = p->output_step[ND_COPY_DIMS - 1], input_step = p->input_step[ND_COPY_DIMS - 1];
    const int32_t run = p->run;

    if (run == 1) {
        copy_bytes(output, input, output_step, input_step, p->size[ND_COPY_DIMS - 1]);
        return;
    }
    for (int32_t i = p->size[ND_COPY_DIMS - 1]; i > 0; i--) {
        if (run < LONG)
            copy_short(output, input, run);
        else
            memcpy(output, input, (size_t)run);
        output += output_step;
        input += input_step;
    }
}

void nd_copy(int8_t *output, const int8_t *input, const nd_copy_params *p)
{
    int32_t index[ND_COPY_DIMS - 1] = {0};
    int32_t dim;

    output += p->output_offset;
    input += p->input_offset;
    do {
        copy_row(output, input, p);
        for (dim = ND_COPY_DIMS - 2; dim >= 0; dim--) {
            output += p->output_step[dim];
            input += p->input_step[dim];
            if (++index[dim] < p->size[dim]) {
                break;
            }
            output -= p->size[dim] * p->output_step[dim];
            input -= p->size[dim] * p->input_step[dim];
            index[dim] = 0;
        }
    } while (dim >= 0);
}
