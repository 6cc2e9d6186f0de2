/* output[b, y, x, :] = input[b, rows[y], columns[x], :], NHWC. Which input row and column is nearest was computed
 * ahead of time. */
#include "ndtool_kernels.h"

void nd_resize_nearest(int8_t *output, const int8_t *input, const nd_resize_params *p)
{
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t y = 0; y < p->output_height; y++) {
            const int8_t *row = input + p->rows[y] * p->input_width * p->channels;

            for (int32_t x = 0; x < p->output_width; x++) {
                memcpy(output, row + p->columns[x] * p->channels, (size_t)p->channels);
                output += p->channels;
            }
        }
        input += p->input_height * p->input_width * p->channels;
    }
}
