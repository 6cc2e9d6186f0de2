/* output = clamp(zero_point + round(input / scale)), halves away from zero; NaN gives the zero point.
 * From 2^31 steps on, and for NaN, the reference converts out of range, which C leaves undefined.
 *
 * A product with 1 / scale is as good as the quotient unless it is too near to a half. The reciprocal, the product and
 * the quotient are off by at most 2^-24 of their size each, so that below 257, from where on everything saturates,
 * product and quotient differ by less than 3.1 / 2^16. In steps of 1 / 2^16, towards zero, that is less than 5 steps:
 * quotients whose products lie within 8 of a half are computed. `scale` is in [2^-40, 2^40]. */
#include "ndtool_kernels.h"

#define NEAR 8

#if defined(__ARM_FP) && __ARM_FP & 4 && defined(__thumb2__) && defined(__GNUC__)
#define HARDWARE 1
#else
#define HARDWARE 0
#endif

/* A float and its bits: sign, exponent + 127, 23 bits of fraction. */
typedef union {
    float real;
    int32_t fixed;
    uint32_t bits;
} number;

/* 2^places * x towards zero, places at most 16, saturated where x is 512 and more; 0 for NaN. */
static int32_t scaled(float x, int places)
{
    const number value = {x};
    const int32_t exponent = (int32_t)(value.bits >> 23 & 0xFFu) - 127;
    const int32_t fraction = (int32_t)(value.bits & 0x7FFFFFu);
    const int32_t mantissa = fraction | 0x800000, shift = exponent + places - 23;
    int32_t magnitude = 0;

    if (exponent == 128 && fraction)
        return 0;
    if (exponent >= 9)
        magnitude = 512 << places;
    else if (shift > -24)
        magnitude = shift >= 0 ? mantissa << shift : mantissa >> -shift;
    return value.bits >> 31 ? -magnitude : magnitude;
}

static inline int32_t sixteenths(float x)
{
#if HARDWARE
    number value = {x};
    int32_t result;
    __asm__("vcvt.s32.f32 %0, %0, #16" : "+t"(value.real));
    __asm__("ssat %0, #26, %1" : "=r"(result) : "r"(value.fixed));
    return result;
#else
    return scaled(x, 16);
#endif
}

static ND_NOINLINE int8_t divided(float x, float scale, int32_t zero_point)
{
    const int32_t halves = scaled(x / scale, 1);

    return (int8_t)nd_clamp((halves + (halves >> 31) + 2 * zero_point + 1) >> 1, -128, 127);
}

/* From (steps + zero_point) * 2^16 + half a step + NEAR. */
static inline int8_t rounded(int32_t fixed, float x, float scale, int32_t zero_point)
{
    return (fixed & (0x10000 - 2 * NEAR)) ? (int8_t)nd_clamp(fixed >> 16, -128, 127) : divided(x, scale, zero_point);
}

void nd_quantize(int8_t *output, const float *input, int32_t size, float scale, int32_t zero_point)
{
    const float reciprocal = 1.0f / scale;
    const int32_t offset = zero_point * 0x10000 + 0x8000 + NEAR;

    ND_NO_UNROLL
    for (; size >= 4; size -= 4, input += 4, output += 4) {
        const int32_t a = sixteenths(input[0] * reciprocal) + offset, b = sixteenths(input[1] * reciprocal) + offset;
        const int32_t c = sixteenths(input[2] * reciprocal) + offset, d = sixteenths(input[3] * reciprocal) + offset;

        output[0] = rounded(a, input[0], scale, zero_point);
        output[1] = rounded(b, input[1], scale, zero_point);
        output[2] = rounded(c, input[2], scale, zero_point);
        output[3] = rounded(d, input[3], scale, zero_point);
    }
    ND_NO_UNROLL
    for (; size > 0; size--, input++)
        *output++ = rounded(sixteenths(*input * reciprocal) + offset, *input, scale, zero_point);
}
