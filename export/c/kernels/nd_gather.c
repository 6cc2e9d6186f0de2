/* The window whose first tap is at (y, x) of an image, of the group whose first channel is `first`, as bytes in a row:
 * filter_height * filter_width * (input_channels / groups). What lies outside the image is the input's zero point. */
#include "ndtool_kernels.h"

void nd_gather(int8_t *patch, const int8_t *image, int32_t y, int32_t x, int32_t first, const nd_conv_params *p)
{
    const int32_t depth = p->input_channels / p->groups;
    const int32_t width = p->filter_width;
    const int whole = p->groups == 1 && p->dilation_width == 1 && x >= 0 && x + width <= p->input_width;
    for (int32_t i = 0; i < p->filter_height; i++, y += p->dilation_height) {
        if (y < 0 || y >= p->input_height) {
            memset(patch, p->input_zero_point, (size_t)(width * depth));
            patch += width * depth;
            continue;
        }
        const int8_t *row = image + y * p->input_width * p->input_channels + first;
        if (whole) {
            memcpy(patch, row + x * p->input_channels, (size_t)(width * depth));
            patch += width * depth;
        } else {
            for (int32_t j = 0, column = x; j < width; j++, column += p->dilation_width) {
                if (column >= 0 && column < p->input_width)
                    memcpy(patch, row + column * p->input_channels, (size_t)depth);
                else
                    memset(patch, p->input_zero_point, (size_t)depth);
                patch += depth;
            }
        }
    }
}
