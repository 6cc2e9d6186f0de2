/* nd_convolve with the tile for cores that issue a load beside a multiplication. */
#include "nd_dsp.h"

void nd_conv_dual(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p)
{
    nd_convolve(output, input, columns, p, nd_tile_4_dual);
}
