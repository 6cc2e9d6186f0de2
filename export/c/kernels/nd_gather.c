/* `width` pixels beside each other (dilated: that far apart) from (y, x) of an image on, in every row of a window, of
 * the group whose first channel is `first`, as bytes in a row: filter_height * width * (input_channels / groups). What
 * lies outside the image is the input's zero point. */
#include "ndtool_kernels.h"

/* Those pixels of one row, one by one, that lie in the image. */
static void gather_row(int8_t *patch, const int8_t *row, int32_t x, int32_t width, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels / p->groups;
    for (int32_t i = 0; i < width; i++, x += p->dilation_width, patch += depth)
        if (x >= 0 && x < p->input_width)
            memcpy(patch, row + x * p->input_channels, (size_t)depth);
}

void nd_gather(int8_t *patch, const int8_t *image, int32_t y, int32_t x, int32_t width, int32_t first,
               const nd_conv_params *p)
{
    const int32_t depth = p->input_channels / p->groups;
    const int32_t high = (p->filter_height - 1) * p->dilation_height + 1, wide = (width - 1) * p->dilation_width + 1;
    const int whole = p->groups == 1 && p->dilation_width == 1;
    const int32_t from = nd_max(x, 0), count = nd_min(x + width, p->input_width) - from;
    if (x < 0 || x + wide > p->input_width || y < 0 || y + high > p->input_height)
        memset(patch, p->input_zero_point, (size_t)(p->filter_height * width * depth));
    for (int32_t i = 0; i < p->filter_height; i++, y += p->dilation_height, patch += width * depth) {
        if (y < 0 || y >= p->input_height)
            continue;
        const int8_t *row = image + y * p->input_width * p->input_channels + first;
        if (!whole)
            gather_row(patch, row, x, width, p);
        else if (count > 0)
            memcpy(patch + (from - x) * depth, row + from * depth, (size_t)(count * depth));
    }
}
