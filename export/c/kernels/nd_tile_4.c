/* Four pixels by pairs of output channels: the matrix product inside nd_conv_dsp, and its requantisation.
 *
 * `column` is four windows widened to int16, 16 bytes for each of `words`: two taps of each pixel. `weights` has for
 * every pair of channels and two taps a word: for each tap a of the first channel and b of the second as the int16
 * 256 b + a, its low byte a. SMLAD of such a word gives the sum of (256 b + a) x; SXTB16 leaves the a, whose SMLAD
 * gives the sum of a x. Their difference is 256 times the sum of b x, modulo 2^32: the compiler has shown that this sum
 * is within [-2^23, 2^23). After the words of a pair lie four for each of its channels: twice the bias, multiplier,
 * rounding and shift, see nd_output_twice. Without `exact`, 1 is not taken off where a sum is negative: where every such
 * sum gives the smallest output. Writes out[pixel * stride + channel] up to the end of the weights.
 *
 * Eight sums, two words of each operand and two pointers are all registers there are: compilers spill, so by hand. */
#include "nd_dsp.h"
#include "nd_tile.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* A word of weights with the four pixels: r2 to r5 are the sums of the pair, r6 to r9 of its first channel. */
#define TWO_TAPS(mac, s2, s3, s4, s5, s6, s7, s8, s9) \
    "ldr    r12, [r1], #4   \n"                       \
    "ldrd   r10, r11, [r0], #8 \n"                    \
    "sxtb16 lr, r12         \n"                       \
    mac "   r2, r12, r10" s2 "\n"                     \
    mac "   r3, r12, r11" s3 "\n"                     \
    mac "   r6, lr, r10" s6 "\n"                      \
    mac "   r7, lr, r11" s7 "\n"                      \
    "ldrd   r10, r11, [r0], #8 \n"                    \
    mac "   r4, r12, r10" s4 "\n"                     \
    mac "   r5, r12, r11" s5 "\n"                     \
    mac "   r8, lr, r10" s8 "\n"                      \
    mac "   r9, lr, r11" s9 "\n"
#define FIRST TWO_TAPS("smuad", "", "", "", "", "", "", "", "")
#define NEXT TWO_TAPS("smlad", ", r2", ", r3", ", r4", ", r5", ", r6", ", r7", ", r8", ", r9")

/* The stack: 0 to 12 where each pixel is written, 16 column, 20 the weights' end, 24 to 60 saved, then the last arguments:
 * 64 words, then the column's end, 68 stride, then where the loop is entered, 72 exact, then where it is requantised. */
__attribute__((naked)) void nd_tile_4(int8_t *out, const uint32_t *column, const int8_t *weights,
                                      const int8_t *weights_end, int32_t words, int32_t stride, int32_t exact)
{
    __asm__ volatile(
        "push   {r1-r12, lr}    \n"
        "sub    sp, sp, #12     \n"
        "ldr    r4, [sp, #64]   \n"
        "ldr    r5, [sp, #68]   \n"
        "ldr    r6, [sp, #72]   \n"
        "str    r1, [sp, #16]   \n"
        "str    r3, [sp, #20]   \n"
        "mov    r7, r0          \n"
        "add    r8, r7, r5      \n"
        "add    r9, r8, r5      \n"
        "add    r10, r9, r5     \n"
        "stm    sp, {r7-r10}    \n"
        "add    r5, r1, r4, lsl #4 \n"
        "sub    r4, r4, #1      \n" /* all but the first word, twelve a round; the first round has what is left */
        "mov    r7, #12         \n"
        "udiv   r8, r4, r7      \n"
        "mls    r4, r8, r7, r4  \n"
        "mov    r7, #48         \n"
        "adr.w  r8, 3f + 1      \n" /* + 1: Thumb */
        "mls    r4, r4, r7, r8  \n"
        "adr.w  r7, 4f + 1      \n"
        "adr.w  r8, 6f + 1      \n"
        "cmp    r6, #0          \n"
        "it     ne              \n"
        "movne  r7, r8          \n"
        "str    r5, [sp, #64]   \n"
        "str    r4, [sp, #68]   \n"
        "str    r7, [sp, #72]   \n"
        "mov    r1, r2          \n"
        "1:                     \n"
        "ldr    r0, [sp, #16]   \n"
        FIRST
        "ldr    pc, [sp, #68]   \n"
        ".p2align 2             \n"
        "2:                     \n"
        ".rept  12              \n"
        NEXT
        ".endr                  \n"
        ".p2align 2             \n"
        "3:                     \n"
        "ldr    r10, [sp, #64]  \n"
        "cmp    r0, r10         \n"
        "bne.w  2b              \n"
        "sub    r2, r2, r6      \n"
        "sub    r3, r3, r7      \n"
        "sub    r4, r4, r8      \n"
        "sub    r5, r5, r9      \n"
        "ldm    r1!, {r0, r10, r11, lr} \n"
        "ldr    pc, [sp, #72]   \n"
        ".p2align 2             \n"
        "4:                     \n"
        ALL(SHORT)
        "5:                     \n"
        "ldm    sp, {r0, r10, r11, r12} \n"
        "bfi    r6, r2, #8, #8  \n"
        "bfi    r7, r3, #8, #8  \n"
        "bfi    r8, r4, #8, #8  \n"
        "bfi    r9, r5, #8, #8  \n"
        "strh   r6, [r0], #2    \n"
        "strh   r7, [r10], #2   \n"
        "strh   r8, [r11], #2   \n"
        "strh   r9, [r12], #2   \n"
        "stm    sp, {r0, r10, r11, r12} \n"
        "ldr    r10, [sp, #20]  \n"
        "cmp    r1, r10         \n"
        "bne.w  1b              \n"
        "add    sp, sp, #24     \n"
        "pop    {r4-r12, pc}    \n"
        ".p2align 2             \n"
        "6:                     \n"
        ALL(EXACT)
        "b      5b              \n");
}

#else

void nd_tile_4(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words,
               int32_t stride, int32_t exact)
{
    for (; weights < weights_end; weights += 4 * words + 32, out += 2)
        for (int32_t pixel = 0; pixel < 4; pixel++)
            nd_pair_output(out + pixel * stride, column + pixel, 4, weights, words, exact);
}

#endif
