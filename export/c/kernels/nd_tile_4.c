/* Four pixels by pairs of output channels: the matrix product inside nd_conv_dsp, and its requantisation.
 *
 * `column` is four windows widened to int16: for every four taps k eight words, (k0, k2) of each pixel, then (k1, k3)
 * of each. `weights` has for every pair of channels and four taps two words of bytes: tap k0 of one channel and of the
 * other, k2 of both; then k1 and k3 of both. SXTB16 takes two taps of a channel out of a word. `channels` has four
 * words each, see nd_requantize_fast. Writes out[pixel * stride + channel].
 *
 * Eight sums, two words of each operand and two pointers are all registers there are: compilers spill, so by hand. */
#include "nd_dsp.h"

#if ND_DSP

/* A word of weights with the four pixels: r2 to r5 are the sums of the pair's first channel, r6 to r9 of its second. */
#define TWO_TAPS                \
    "ldr    r12, [r1], #4   \n" \
    "ldrd   r10, r11, [r0], #8 \n" \
    "sxtb16 lr, r12, ror #8 \n" \
    "sxtb16 r12, r12        \n" \
    "smlad  r2, r12, r10, r2 \n" \
    "smlad  r6, lr, r10, r6 \n" \
    "smlad  r3, r12, r11, r3 \n" \
    "smlad  r7, lr, r11, r7 \n" \
    "ldrd   r10, r11, [r0], #8 \n" \
    "smlad  r4, r12, r10, r4 \n" \
    "smlad  r8, lr, r10, r8 \n" \
    "smlad  r5, r12, r11, r5 \n" \
    "smlad  r9, lr, r11, r9 \n"

/* nd_requantize_fast: multiplier r10, rounding r11, shift lr. */
#define REQUANTIZE(sum)                   \
    "add    " sum ", " sum ", " sum "  \n" \
    "smmlar r0, " sum ", r10, r11      \n" \
    "add    r0, r0, " sum ", asr #31   \n" \
    "asr    r0, r0, lr                 \n" \
    "ssat   " sum ", #8, r0            \n"

/* The stack: 0 out, 4 column, 8 where the loop is entered, 12 channels, 16 to 48 saved, then the last arguments:
 * 52 pairs, 56 stride, 60 column_end. */
__attribute__((naked)) void nd_tile_4(int8_t *out, const uint32_t *column, const int8_t *weights,
                                      const int32_t *channels, int32_t pairs, int32_t stride,
                                      const uint32_t *column_end)
{
    __asm__ volatile(
        "push   {r0-r11, lr}    \n"
        "adr.w  r4, 2f          \n" /* eight taps a round; */
        "adr.w  r5, 3f          \n" /* the first has only four where their number is odd */
        "ldr    r6, [sp, #60]   \n"
        "sub    r6, r6, r1      \n"
        "tst    r6, #32         \n"
        "it     ne              \n"
        "movne  r4, r5          \n"
        "add    r4, r4, #1      \n" /* Thumb */
        "str    r4, [sp, #8]    \n"
        "mov    r1, r2          \n"
        "1:                     \n"
        "ldr    r12, [sp, #12]  \n"
        "ldr    r0, [sp, #4]    \n"
        "ldr    r2, [r12]       \n"
        "ldr    r6, [r12, #16]  \n"
        "mov    r3, r2          \n"
        "mov    r4, r2          \n"
        "mov    r5, r2          \n"
        "mov    r7, r6          \n"
        "mov    r8, r6          \n"
        "mov    r9, r6          \n"
        "ldr    pc, [sp, #8]    \n"
        ".p2align 2             \n"
        "2:                     \n"
        TWO_TAPS
        TWO_TAPS
        "3:                     \n"
        TWO_TAPS
        TWO_TAPS
        "ldr    r10, [sp, #60]  \n"
        "cmp    r0, r10         \n"
        "bne    2b              \n"
        "ldr    r12, [sp, #12]  \n"
        "ldrd   r10, r11, [r12, #4] \n"
        "ldr    lr, [r12, #12]  \n"
        REQUANTIZE("r2")
        REQUANTIZE("r3")
        REQUANTIZE("r4")
        REQUANTIZE("r5")
        "ldrd   r10, r11, [r12, #20] \n"
        "ldr    lr, [r12, #28]  \n"
        REQUANTIZE("r6")
        REQUANTIZE("r7")
        REQUANTIZE("r8")
        REQUANTIZE("r9")
        "adds   r12, r12, #32   \n"
        "str    r12, [sp, #12]  \n"
        "ldr    r0, [sp]        \n"
        "ldr    r10, [sp, #56]  \n"
        "add    r11, r10, r10, lsl #1 \n"
        "bfi    r2, r6, #8, #8  \n"
        "bfi    r3, r7, #8, #8  \n"
        "bfi    r4, r8, #8, #8  \n"
        "bfi    r5, r9, #8, #8  \n"
        "strh   r3, [r0, r10]   \n"
        "strh   r4, [r0, r10, lsl #1] \n"
        "strh   r5, [r0, r11]   \n"
        "strh   r2, [r0], #2    \n"
        "str    r0, [sp]        \n"
        "ldr    r10, [sp, #52]  \n"
        "subs   r10, r10, #1    \n"
        "str    r10, [sp, #52]  \n"
        "bne    1b              \n"
        "add    sp, sp, #16     \n"
        "pop    {r4-r11, pc}    \n");
}

#else

void nd_tile_4(int8_t *out, const uint32_t *column, const int8_t *weights, const int32_t *channels, int32_t pairs,
               int32_t stride, const uint32_t *column_end)
{
    for (; pairs > 0; pairs--, channels += 8, out += 2) {
        int32_t one[4], two[4];
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            one[pixel] = channels[0];
            two[pixel] = channels[4];
        }
        for (const uint32_t *x = column; x < column_end; x += 4, weights += 4) {
            const uint32_t word = nd_load_word(weights);
            for (int32_t pixel = 0; pixel < 4; pixel++) {
                one[pixel] = nd_smlad(nd_even_bytes(word), x[pixel], one[pixel]);
                two[pixel] = nd_smlad(nd_odd_bytes(word), x[pixel], two[pixel]);
            }
        }
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            out[pixel * stride] = nd_channel_output(one[pixel], channels);
            out[pixel * stride + 1] = nd_channel_output(two[pixel], channels + 4);
        }
    }
}

#endif
