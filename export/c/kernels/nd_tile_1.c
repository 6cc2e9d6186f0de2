/* nd_tile_4 for one pixel: what is left of a convolution whose number of pixels is no multiple of four. The column has
 * two words for every four taps, (k0, k2) and (k1, k3). */
#include "nd_dsp.h"

#if ND_DSP

/* Four taps: r2 is the sum of the pair's first channel, r3 of its second. */
#define FOUR_TAPS               \
    "ldrd   r4, r5, [r1], #8 \n" \
    "ldrd   r6, r7, [r0], #8 \n" \
    "sxtb16 r8, r4          \n" \
    "sxtb16 r4, r4, ror #8  \n" \
    "smlad  r2, r8, r6, r2  \n" \
    "smlad  r3, r4, r6, r3  \n" \
    "sxtb16 r8, r5          \n" \
    "sxtb16 r5, r5, ror #8  \n" \
    "smlad  r2, r8, r7, r2  \n" \
    "smlad  r3, r5, r7, r3  \n"

/* nd_requantize_fast: multiplier r4, rounding r5, shift r6. */
#define REQUANTIZE(sum)                   \
    "add    " sum ", " sum ", " sum "  \n" \
    "smmlar r7, " sum ", r4, r5        \n" \
    "add    r7, r7, " sum ", asr #31   \n" \
    "asr    r7, r7, r6                 \n" \
    "ssat   " sum ", #8, r7            \n"

/* r9 column, r10 its end, r11 out, r12 channels, lr where the loop is entered. */
__attribute__((naked)) void nd_tile_1(int8_t *out, const uint32_t *column, const int8_t *weights,
                                      const int32_t *channels, int32_t pairs, const uint32_t *column_end)
{
    __asm__ volatile(
        "push   {r4-r11, lr}    \n"
        "mov    r11, r0         \n"
        "mov    r9, r1          \n"
        "mov    r1, r2          \n"
        "mov    r12, r3         \n"
        "ldr    r10, [sp, #40]  \n"
        "adr.w  lr, 2f          \n" /* eight taps a round; */
        "adr.w  r5, 3f          \n" /* the first has only four where their number is odd */
        "sub    r6, r10, r9     \n"
        "tst    r6, #8          \n"
        "it     ne              \n"
        "movne  lr, r5          \n"
        "add    lr, lr, #1      \n" /* Thumb */
        "1:                     \n"
        "mov    r0, r9          \n"
        "ldr    r2, [r12]       \n"
        "ldr    r3, [r12, #16]  \n"
        "bx     lr              \n"
        ".p2align 2             \n"
        "2:                     \n"
        FOUR_TAPS
        "3:                     \n"
        FOUR_TAPS
        "cmp    r0, r10         \n"
        "bne    2b              \n"
        "ldrd   r4, r5, [r12, #4] \n"
        "ldr    r6, [r12, #12]  \n"
        REQUANTIZE("r2")
        "ldrd   r4, r5, [r12, #20] \n"
        "ldr    r6, [r12, #28]  \n"
        REQUANTIZE("r3")
        "bfi    r2, r3, #8, #8  \n"
        "strh   r2, [r11], #2   \n"
        "adds   r12, r12, #32   \n"
        "ldr    r4, [sp, #36]   \n"
        "subs   r4, r4, #1      \n"
        "str    r4, [sp, #36]   \n"
        "bne    1b              \n"
        "pop    {r4-r11, pc}    \n");
}

#else

void nd_tile_1(int8_t *out, const uint32_t *column, const int8_t *weights, const int32_t *channels, int32_t pairs,
               const uint32_t *column_end)
{
    for (; pairs > 0; pairs--, channels += 8, out += 2) {
        int32_t one = channels[0], two = channels[4];
        for (const uint32_t *x = column; x < column_end; x++, weights += 4) {
            const uint32_t word = nd_load_word(weights);
            one = nd_smlad(nd_even_bytes(word), *x, one);
            two = nd_smlad(nd_odd_bytes(word), *x, two);
        }
        out[0] = nd_channel_output(one, channels);
        out[1] = nd_channel_output(two, channels + 4);
    }
}

#endif
