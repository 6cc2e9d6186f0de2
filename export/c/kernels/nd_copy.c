/* output[i . output_step] = input[i . input_step] for every index i below size, in runs of `run` bytes that are
 * contiguous in both. Transpositions, slices, splits, concatenations and the like are such copies. Steps and offsets
 * are in bytes; input steps may be negative (reversed slices) or 0 (repetition). */
#include "ndtool_kernels.h"

static void copy_row(int8_t *output, const int8_t *input, const nd_copy_params *p)
{
    const int32_t output_step = p->output_step[ND_COPY_DIMS - 1], input_step = p->input_step[ND_COPY_DIMS - 1];
    int32_t i = p->size[ND_COPY_DIMS - 1];

    if (p->run == 1) {
        for (; i > 0; i--) {
            *output = *input;
            output += output_step;
            input += input_step;
        }
    } else {
        for (; i > 0; i--) {
            memcpy(output, input, (size_t)p->run);
            output += output_step;
            input += input_step;
        }
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
