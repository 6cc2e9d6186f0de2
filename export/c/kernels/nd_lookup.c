/* output[i] = table[128 + input[i]]: any function of one int8, computed ahead of time.
 * Element by element: the output may take the input's place. */
#include "ndtool_kernels.h"

void nd_lookup(int8_t *output, const int8_t *input, int32_t size, const int8_t table[256])
{
    const int8_t *zero = table + 128;
    int32_t i = 0;

    for (; i <= size - 4; i += 4) {
        int8_t a = zero[input[i]], b = zero[input[i + 1]], c = zero[input[i + 2]], d = zero[input[i + 3]];
        output[i] = a;
        output[i + 1] = b;
        output[i + 2] = c;
        output[i + 3] = d;
    }
    for (; i < size; i++) {
        output[i] = zero[input[i]];
    }
}
