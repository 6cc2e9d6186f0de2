/* `count` bytes from `from` to `to`, which lies before it in the same memory: they may overlap. */
#include "ndtool_kernels.h"

void nd_move(int8_t *to, const int8_t *from, int32_t count)
{
    const int32_t gap = (int32_t)(from - to);
    for (; count > gap; count -= gap, to += gap, from += gap)
        memcpy(to, from, (size_t)gap);
    memcpy(to, from, (size_t)count);
}
