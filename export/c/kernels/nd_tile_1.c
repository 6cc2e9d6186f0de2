/* nd_tile_4 for one pixel: what is left of a convolution whose number of pixels is no multiple of four. The column has
 * one word for every two taps. */
#include "nd_dsp.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* r2 is the sum of the pair, r3 of its first channel. */
#define TWO_TAPS(w, x)               \
    "smlad  r2, " w ", " x ", r2 \n" \
    "sxtb16 " w ", " w "    \n"      \
    "smlad  r3, " w ", " x ", r3 \n"
#define EIGHT_TAPS              \
    "ldm    r1!, {r4-r7}    \n" \
    "ldm    r0!, {r8-r11}   \n" \
    TWO_TAPS("r4", "r8")        \
    TWO_TAPS("r5", "r9")        \
    TWO_TAPS("r6", "r10")       \
    TWO_TAPS("r7", "r11")
#define LAST_TAPS               \
    "ldr    r4, [r1], #4    \n" \
    "ldr    r8, [r0], #4    \n" \
    TWO_TAPS("r4", "r8")

/* nd_output_twice: twice the bias r4, multiplier r5, rounding r6, shift r7. */
#define REQUANTIZE(sum, doubling)                   \
    "ldm    r1!, {r4-r7}    \n"                     \
    "add    " sum ", r4, " sum ", " doubling "\n"   \
    "smmlar r8, " sum ", r5, r6     \n"             \
    "add    r8, r8, " sum ", asr #31 \n"            \
    "asr    r8, r8, r7              \n"             \
    "ssat   " sum ", #8, r8         \n"

/* lr: the end of the column's whole rounds, r12 where it is written. The stack: 0 where the loop is entered, 4 column,
 * 8 where what is left is, 12 the weights' end, 16 to 44 saved, then the last argument: 56 words. */
__attribute__((naked)) void nd_tile_1(int8_t *out, const uint32_t *column, const int8_t *weights,
                                      const int8_t *weights_end, int32_t words)
{
    __asm__ volatile(
        "push   {r0-r12, lr}    \n"
        "mov    r12, r0         \n"
        "ldr    r4, [sp, #56]   \n"
        "bics   r5, r4, #3      \n"
        "add    lr, r1, r5, lsl #2 \n"
        "adr.w  r6, 2f + 1      \n" /* sixteen taps a round, + 1: Thumb; */
        "adr.w  r7, 4f + 1      \n" /* no round, */
        "it     eq              \n"
        "moveq  r6, r7          \n"
        "adr.w  r7, 3f + 1      \n" /* or half a round first */
        "tst    r4, #4          \n"
        "it     ne              \n"
        "movne  r6, r7          \n"
        "str    r6, [sp]        \n"
        "and    r4, r4, #3      \n"
        "mov    r5, #20         \n"
        "adr.w  r6, 5f + 1      \n"
        "mls    r4, r4, r5, r6  \n"
        "str    r4, [sp, #8]    \n"
        "mov    r1, r2          \n"
        "1:                     \n"
        "ldr    r0, [sp, #4]    \n"
        "movs   r2, #0          \n"
        "movs   r3, #0          \n"
        "ldr    pc, [sp]        \n"
        ".p2align 2             \n"
        "2:                     \n"
        EIGHT_TAPS
        ".p2align 2             \n"
        "3:                     \n"
        EIGHT_TAPS
        ".p2align 2             \n"
        "4:                     \n"
        "cmp    r0, lr          \n"
        "bne    2b              \n"
        "ldr    pc, [sp, #8]    \n"
        ".p2align 2             \n"
        LAST_TAPS
        LAST_TAPS
        LAST_TAPS
        "5:                     \n"
        "subs   r2, r2, r3      \n"
        REQUANTIZE("r3", "lsl #1")
        REQUANTIZE("r2", "asr #7")
        "bfi    r3, r2, #8, #8  \n"
        "strh   r3, [r12], #2   \n"
        "ldr    r4, [sp, #12]   \n"
        "cmp    r1, r4          \n"
        "bne    1b              \n"
        "add    sp, sp, #16     \n"
        "pop    {r4-r12, pc}    \n");
}

#else

void nd_tile_1(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words)
{
    for (; weights < weights_end; weights += 4 * words + 32, out += 2)
        nd_pair_output(out, column, 1, weights, words, 1);
}

#endif
