/* ndtool_kernels.h: the integer kernels of ndtool and what they share. C99, freestanding, no state, no heap.
 *
 * Tensors are NHWC, int8, real = scale * (q - zero_point). Every kernel gives the bytes of LiteRT's reference kernels.
 * Pointers passed to one call never overlap unless the kernel's comment says by how much they may. */
#ifndef NDTOOL_KERNELS_H
#define NDTOOL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* The only two functions of libc that are used; a freestanding program provides them. */
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);

#if defined(__GNUC__)
#define ND_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define ND_NOINLINE __attribute__((noinline))
#else
#define ND_ALIGNED(bytes)
#define ND_NOINLINE
#endif

/* Before a small loop that is tuned as it stands: clang's unrolling would run out of registers. */
#if defined(__clang__)
#define ND_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define ND_NO_UNROLL
#endif

/* Right shifts of negative numbers are arithmetic, as on every compiler that targets a microcontroller of 32 bits. */
typedef char nd_int_has_32_bits[sizeof(int) >= 4 ? 1 : -1];

/* round(a * b / 2^31), halves up; saturates where both are INT32_MIN. */
static inline int32_t nd_high_mul(int32_t a, int32_t b)
{
    if (a == INT32_MIN && b == INT32_MIN)
        return INT32_MAX;
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* round(x / 2^exponent), halves away from zero; exponent in [0, 31]. */
static inline int32_t nd_rounding_divide_by_pot(int32_t x, int exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1u);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31), rounded twice (gemmlowp). shift is left if positive, in [-31, 30]. */
static inline int32_t nd_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    const int left = shift > 0 ? (int)shift : 0;
    const int right = shift > 0 ? 0 : (int)-shift;
    const int32_t shifted = (int32_t)((uint32_t)x << left); /* wraps, as the reference does */
    return nd_rounding_divide_by_pot(nd_high_mul(shifted, multiplier), right);
}

/* round(x * multiplier * 2^(shift - 31)), once, halves away from zero. shift in [-31, 30]; the result must fit. */
static inline int32_t nd_requantize_once(int32_t x, int32_t multiplier, int32_t shift)
{
    const int total = 31 - (int)shift;
    const int64_t half = INT64_C(1) << (total - 1);
    return (int32_t)(((int64_t)x * multiplier + half - (x < 0 ? 1 : 0)) >> total);
}

static inline int32_t nd_min(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t nd_max(int32_t a, int32_t b) { return a > b ? a : b; }

/* x clamped to [low, high]. */
static inline int32_t nd_clamp(int32_t x, int32_t low, int32_t high) { return nd_min(nd_max(x, low), high); }

/* clamp(x + zero_point); the sum wraps, as the reference's does, where scales are out of all proportion. */
static inline int8_t nd_output(int32_t x, int32_t zero_point, int32_t low, int32_t high)
{
    return (int8_t)nd_clamp((int32_t)((uint32_t)x + (uint32_t)zero_point), low, high);
}

/* ---- Family A: convolutions, fully connected, pooling, mean ------------------------------------------------- */

/* Convolutions. But for nd_depthwise and nd_depthwise_multiplier, the bias has the input's zero point folded in,
 * bias - input_zero_point * sum of the channel's weights, so that kernels multiply inputs as they are and take
 * input_zero_point for what lies outside the image. */
typedef struct {
    const int8_t *weights;      /* [output channel][height][width][depth]; depthwise [height][width][output channel] */
    const int32_t *bias;        /* [output channel]; kernels that take no multipliers: words of each channel, see there */
    const int32_t *multipliers; /* Q31 */
    const int8_t *shifts;       /* left if > 0, in [-31, 30] */
    int32_t input_height, input_width, output_height, output_width;
    int32_t pad_top, pad_left; /* rows and columns outside the image before its first */
    int16_t batches, input_channels, output_channels;
    int16_t filter_height, filter_width, stride_height, stride_width, dilation_height, dilation_width;
    int16_t groups;           /* convolution: output channel c sees input group c / (output_channels / groups) */
    int16_t depth_multiplier; /* depthwise: output channel c sees input channel c / depth_multiplier */
    int8_t input_zero_point, output_zero_point, activation_min, activation_max;
    int8_t channel_step; /* 1: a multiplier for each channel, 0: one for all */
    int8_t exact;        /* nd_tile_4: negative sums differ in their outputs */
} nd_conv_params;

typedef struct {
    int32_t rows, inputs, outputs;
    int32_t output_zero_point, activation_min, activation_max;
    int32_t channel_step;       /* 1: a multiplier for each output, 0: one for all */
    const int8_t *weights;      /* [outputs][inputs] */
    const int32_t *bias;        /* [outputs], the input's zero point folded in as for convolutions */
    const int32_t *multipliers; /* Q31; NULL for nd_fully_connected_double */
    const int8_t *shifts;       /* left if > 0, in [-31, 30] */
    const double *scales;       /* real multipliers; NULL but for nd_fully_connected_double */
    const int32_t *channels;    /* see nd_fully_connected_dsp, as are its multipliers */
} nd_fully_connected_params;

typedef struct {
    int32_t batches, input_height, input_width, channels, output_height, output_width;
    int32_t filter_height, filter_width, stride_height, stride_width, pad_top, pad_left;
    int32_t activation_min, activation_max;
} nd_pool_params;

/* Three loops over what is kept and three over what is summed, outermost first; steps in bytes of the input. */
typedef struct {
    int32_t kept[3], kept_step[3];
    int32_t summed[3], summed_step[3];
    int32_t offset; /* - input_zero_point * number of summed elements */
    int32_t multiplier, shift;
    int32_t rounding, right_shift; /* see nd_requantize_fast; a shift of 0 where it cannot be used */
    int32_t output_zero_point;
} nd_mean_params;

void nd_conv(int8_t *output, const int8_t *input, int8_t *patches, const nd_conv_params *p);
void nd_conv_1x1(int8_t *output, const int8_t *input, const nd_conv_params *p);
void nd_conv_dsp(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p);
void nd_conv_1x1_dsp(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p);
void nd_conv_dual(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p);
void nd_conv_1x1_dual(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p);
typedef void nd_tile(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words,
                     int32_t stride, int32_t exact);
void nd_convolve(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p, nd_tile *tile);
void nd_convolve_1x1(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p, nd_tile *tile);
void nd_columns_dsp(int8_t *output, int32_t pixels, const uint32_t *columns, int32_t words, const nd_conv_params *p,
                    nd_tile *tile);
void nd_tile_4(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words,
               int32_t stride, int32_t exact);
void nd_tile_4_dual(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words,
                    int32_t stride, int32_t exact);
void nd_tile_1(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words);
void nd_tile_row(int8_t *out, const int8_t *row, const int8_t *weights, const int32_t *channels, int32_t fours,
                 const int32_t *channels_end, const int32_t *shared);
uint32_t *nd_widen_4(uint32_t *to, const int8_t *from, int32_t apart, int32_t words, int32_t rows, int32_t step);
void nd_widen_shared(uint32_t *to, const int8_t *from, int32_t depth, int32_t rows, int32_t step);
uint32_t *nd_widen_1(uint32_t *to, const int8_t *from, int32_t words, int32_t rows, int32_t step);
void nd_widen_rest(uint32_t *to, int32_t pixels, const int8_t *from, int32_t apart, int32_t rest, int32_t rows,
                   int32_t step);
void nd_clamp_bytes(int8_t *bytes, int32_t count, int32_t low, int32_t high);
void nd_gather(int8_t *patch, const int8_t *image, int32_t y, int32_t x, int32_t width, int32_t first,
               const nd_conv_params *p);
void nd_conv_thumb(int8_t *output, const int8_t *input, uint32_t *columns, const nd_conv_params *p);
void nd_two_pixels(int8_t *out0, int8_t *out1, const int8_t *x0, const int8_t *x1, int32_t k, int32_t first,
                   int32_t count, const nd_conv_params *p);
void nd_depthwise(int8_t *output, const int8_t *input, const nd_conv_params *p);
void nd_depthwise_thumb(int8_t *output, const int8_t *input, uint32_t *strip, int32_t rows, const nd_conv_params *p);
void nd_depthwise_multiplier(int8_t *output, const int8_t *input, const nd_conv_params *p);
/* Of these `weights` are [output channel][height][width], `scratch` has room for `rows` rows: see nd_depthwise_dsp. */
void nd_depthwise_3(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_3_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_3_2(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_3_2_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows,
                           const nd_conv_params *p);
void nd_depthwise_5(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_5_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_5_2(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_5_2_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows,
                           const nd_conv_params *p);
void nd_depthwise_7(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_7_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_7_2(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p);
void nd_depthwise_7_2_relu(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows,
                           const nd_conv_params *p);
void nd_fully_connected(int8_t *output, const int8_t *input, const nd_fully_connected_params *p);
void nd_fully_connected_dsp(int8_t *output, const int8_t *input, int8_t *copy, const nd_fully_connected_params *p);
void nd_fully_connected_thumb(int8_t *output, const int8_t *input, const nd_fully_connected_params *p);
void nd_fully_connected_double(int8_t *output, const int8_t *input, const nd_fully_connected_params *p);
void nd_average_pool(int8_t *output, const int8_t *input, const nd_pool_params *p);
void nd_max_pool(int8_t *output, const int8_t *input, const nd_pool_params *p);
void nd_sum_channels(int32_t *sums, int32_t channels, const int8_t *first, int32_t rows, int32_t row_step,
                     int32_t columns, int32_t column_step);
void nd_mean(int8_t *output, const int8_t *input, const nd_mean_params *p);

/* ---- Family B: elementwise, movement, tables, resizing ------------------------------------------------------ */

/* Two inputs broadcast to one output: four loops of size[] rounds, outermost first, equal or adjacent dimensions
 * merged. A step is how far an input moves in one round, 0 where it is repeated. The output is contiguous. */
typedef struct {
    int32_t size[4];
    int32_t step1[4];
    int32_t step2[4];
} nd_broadcast;

typedef struct {
    nd_broadcast broadcast;
    int32_t input1_zero_point, input1_multiplier, input1_shift;
    int32_t input2_zero_point, input2_multiplier, input2_shift;
    int32_t output_zero_point, output_multiplier, output_shift;
    int32_t sign;     /* 1: sum, -1: difference */
    int32_t rounding; /* of nd_add_rounded only: see nd_requantize_fast */
    int32_t activation_min, activation_max;
} nd_add_params;

typedef struct {
    nd_broadcast broadcast;
    int32_t factor1, factor2, offset;
    int32_t rounding, shift, away; /* of nd_add_fast only */
    int32_t activation_min, activation_max;
} nd_add_fast_params;

typedef struct {
    nd_broadcast broadcast;
    int32_t input1_zero_point, input2_zero_point;
    int32_t output_zero_point, output_multiplier, output_shift;
    int32_t rounding, right_shift; /* of nd_mul_dsp only: see nd_requantize_fast */
    int32_t activation_min, activation_max;
} nd_mul_params;

#define ND_COPY_DIMS 6
typedef struct {
    int32_t size[ND_COPY_DIMS]; /* rounds of each loop, outermost first, at least 1 */
    int32_t output_step[ND_COPY_DIMS];
    int32_t input_step[ND_COPY_DIMS];
    int32_t output_offset, input_offset;
    int32_t run; /* bytes copied in one round of the innermost loop */
} nd_copy_params;

typedef struct {
    int32_t size[4]; /* rounds of each loop, outermost first */
    int32_t before[5], after[5];
    int32_t run;
} nd_pad_params;

typedef struct {
    int32_t batches, input_height, input_width, output_height, output_width, channels;
    const uint16_t *rows;    /* [output_height] */
    const uint16_t *columns; /* [output_width] */
} nd_resize_params;

void nd_lookup(int8_t *output, const int8_t *input, int32_t size, const int8_t table[256]);
void nd_add(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_params *p);
void nd_add_rounded(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_params *p);
void nd_add_fast(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_fast_params *p);
void nd_add_dsp(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_add_fast_params *p);
void nd_mul(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_mul_params *p);
void nd_mul_dsp(int8_t *output, const int8_t *input1, const int8_t *input2, const nd_mul_params *p);
void nd_extremum(int8_t *output, const int8_t *input1, const int8_t *input2, int32_t flip, const nd_broadcast *s);
void nd_softmax(int8_t *output, const int8_t *input, int32_t rows, int32_t depth, const int32_t *exponentials,
                int32_t differences);
void nd_move(int8_t *to, const int8_t *from, int32_t count);
void nd_copy(int8_t *output, const int8_t *input, const nd_copy_params *p);
void nd_pad(int8_t *output, const int8_t *input, int32_t value, const nd_pad_params *p);
void nd_resize_nearest(int8_t *output, const int8_t *input, const nd_resize_params *p);
void nd_quantize(int8_t *output, const float *input, int32_t size, float scale, int32_t zero_point);
void nd_dequantize(float *output, const int8_t *input, int32_t size, float scale, int32_t zero_point);

#endif
