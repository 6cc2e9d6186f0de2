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

/* Right shifts of negative numbers are arithmetic, as on every compiler that targets a microcontroller. */

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

/* round(x * multiplier * 2^(shift - 31)), rounded once, halves up; saturates to int32. shift in [-31, 30]. */
static inline int32_t nd_requantize_single(int32_t x, int32_t multiplier, int32_t shift)
{
    const int total = 31 - (int)shift;
    const int64_t result = ((int64_t)x * multiplier + (INT64_C(1) << (total - 1))) >> total;
    if (result > INT32_MAX)
        return INT32_MAX;
    return result < INT32_MIN ? INT32_MIN : (int32_t)result;
}

static inline int32_t nd_min(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t nd_max(int32_t a, int32_t b) { return a > b ? a : b; }

/* x clamped to [low, high]. */
static inline int32_t nd_clamp(int32_t x, int32_t low, int32_t high) { return nd_min(nd_max(x, low), high); }

/* ---- Family A: convolutions, fully connected, pooling, mean ------------------------------------------------- */

/* ---- Family B: elementwise, movement, tables, resizing ------------------------------------------------------ */

#endif
