/* The input inside a border of `value`: rows of `run` bytes in four loops of size[] rounds, with before[d] bytes of
 * border ahead of the rounds of loop d and after[d] bytes behind them (the last pair is around each row).
 * Written from front to back: the input may lie behind the output in the same memory, at the compiler's distance. */
#include "ndtool_kernels.h"

static int8_t *fill(int8_t *output, int32_t value, int32_t bytes)
{
    if (bytes > 0) {
        memset(output, value, (size_t)bytes);
    }
    return output + bytes;
}

void nd_pad(int8_t *output, const int8_t *input, int32_t value, const nd_pad_params *p)
{
    output = fill(output, value, p->before[0]);
    for (int32_t i = 0; i < p->size[0]; i++) {
        output = fill(output, value, p->before[1]);
        for (int32_t j = 0; j < p->size[1]; j++) {
            output = fill(output, value, p->before[2]);
            for (int32_t k = 0; k < p->size[2]; k++) {
                output = fill(output, value, p->before[3]);
                for (int32_t l = 0; l < p->size[3]; l++) {
                    output = fill(output, value, p->before[4]);
                    memcpy(output, input, (size_t)p->run);
                    output = fill(output + p->run, value, p->after[4]);
                    input += p->run;
                }
                output = fill(output, value, p->after[3]);
            }
            output = fill(output, value, p->after[2]);
        }
        output = fill(output, value, p->after[1]);
    }
    fill(output, value, p->after[0]);
}
