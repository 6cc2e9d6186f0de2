/* output = clamp(zero_point + round(input / scale)), halves away from zero; NaN gives the zero point.
 * From 2^31 steps on, and for NaN, the reference converts out of range, which C leaves undefined. */
#include "ndtool_kernels.h"

/* trunc(2 * x), saturated to at least 12 bits; 0 for NaN. */
static inline int32_t halves(float x)
{
#if defined(__ARM_FP) && __ARM_FP & 4 && defined(__thumb2__) && defined(__GNUC__)
    /* A conversion to one bit of fraction, towards zero; it saturates. */
    union {
        float real;
        int32_t fixed;
    } value = {x};
    int32_t result;
    __asm__("vcvt.s32.f32 %0, %0, #1" : "+t"(value.real));
    __asm__("ssat %0, #12, %1" : "=r"(result) : "r"(value.fixed));
    return result;
#else
    /* From the bits of x: sign, exponent + 127, 23 bits of fraction. */
    const union {
        float real;
        uint32_t bits;
    } value = {x};
    const int32_t exponent = (int32_t)(value.bits >> 23 & 0xFFu) - 127;
    const int32_t fraction = (int32_t)(value.bits & 0x7FFFFFu);
    int32_t magnitude = 0;

    if (exponent == 128 && fraction)
        return 0;
    if (exponent >= 9)
        magnitude = 1024;
    else if (exponent >= -1)
        magnitude = (fraction | 0x800000) >> (22 - exponent);
    return value.bits >> 31 ? -magnitude : magnitude;
#endif
}

void nd_quantize(int8_t *output, const float *input, int32_t size, float scale, int32_t zero_point)
{
    const int32_t offset = 2 * zero_point + 1;
    const int8_t *end = output + size;

    ND_NO_UNROLL
    while (output < end) {
        const int32_t x = halves(*input++ / scale);

        *output++ = (int8_t)nd_clamp((x + (x >> 31) + offset) >> 1, -128, 127);
    }
}
