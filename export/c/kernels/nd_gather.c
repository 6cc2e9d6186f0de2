/* `width` pixels beside each other (dilated: that far apart) from (y, x) of an image on, in every row of a window, of
 * the group whose first channel is `first`, as bytes in a row: filter_height * width * (input_channels / groups). What
 * lies outside the image is the input's zero point. */
#include "ndtool_kernels.h"

void nd_gather(int8_t *patch, const int8_t *image, int32_t y, int32_t x, int32_t width, int32_t first,
               const nd_conv_params *p)
{
    const int32_t depth = p->input_channels / p->groups;
    const int whole = p->groups == 1 && p->dilation_width == 1;
    const int32_t before = nd_clamp(-x, 0, width) * depth;
    const int32_t after = nd_clamp(x + width - p->input_width, 0, width) * depth;
    for (int32_t i = 0; i < p->filter_height; i++, y += p->dilation_height) {
        if (y < 0 || y >= p->input_height || (whole && before + after >= width * depth)) {
            memset(patch, p->input_zero_point, (size_t)(width * depth));
            patch += width * depth;
            continue;
        }
        const int8_t *row = image + y * p->input_width * p->input_channels + first;
        if (whole) {
            const int32_t inside = width * depth - before - after;
            if (before)
                memset(patch, p->input_zero_point, (size_t)before);
            memcpy(patch + before, row + (x * depth + before), (size_t)inside);
            if (after)
                memset(patch + before + inside, p->input_zero_point, (size_t)after);
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
