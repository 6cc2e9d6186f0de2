/* One row of inputs by four outputs at a time: the matrix product inside nd_fully_connected_dsp, and its requantisation.
 *
 * `weights` has for every four outputs and four inputs four words of two inputs each, as in nd_tile_4: the even inputs
 * of the first two outputs and of the last two, then the odd inputs of both. `channels` has four words for each output:
 * bias, multiplier, rounding and shift of nd_output_floor; or only the bias, where the others are the same for all, in
 * `shared`. `row` has 4 * fours inputs, from an aligned address. */
#include "nd_dsp.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* Inputs `x`, 0 and 2 in r12, 1 and 3 in their place: r2 and r4 are the sums of two pairs, r3 and r5 of their first. */
#define TWO_OUTPUTS(both, first, w, x)             \
    "smlad  " both ", " w ", " x ", " both "\n"    \
    "sxtb16 " w ", " w "    \n"                    \
    "smlad  " first ", " w ", " x ", " first "\n"
#define FOUR_INPUTS(x)                   \
    "ldm    r1!, {r6-r9}    \n"          \
    "sxtb16 r12, " x "      \n"          \
    "sxtb16 " x ", " x ", ror #8 \n"     \
    TWO_OUTPUTS("r2", "r3", "r6", "r12") \
    TWO_OUTPUTS("r4", "r5", "r7", "r12") \
    TWO_OUTPUTS("r2", "r3", "r8", x)     \
    TWO_OUTPUTS("r4", "r5", "r9", x)
#define EIGHT_INPUTS            \
    "ldm    r0!, {r10, r11} \n" \
    ".irp   x, r10, r11     \n" \
    FOUR_INPUTS("\\x")          \
    ".endr                  \n"

/* nd_output_floor; `shifted` to the right where a sum is given 256 times. */
#define REQUANTIZE(sum, shifted, bias, multiplier, rounding, shift)      \
    "add    " sum ", " bias ", " sum shifted " \n"                       \
    "smmla  " sum ", " sum ", " multiplier ", " rounding "\n"            \
    "asr    " sum ", " sum ", " shift "\n"                               \
    "ssat   " sum ", #8, " sum "    \n"
#define OF_ALL(sum, shifted, bias) REQUANTIZE(sum, shifted, bias, "r0", "r10", "r11")
#define OF_ONE(sum, shifted) "ldm    r12!, {r6-r9}   \n" REQUANTIZE(sum, shifted, "r6", "r7", "r8", "r9")

/* One row by the outputs from `channels` to `channels_end`. lr: the end of the row's whole rounds. The stack: 0 out,
 * 4 row, 8 where the loop is entered, 12 channels, 16 to 44 saved, 48 where what is left is, then the last arguments:
 * 56 fours, then where it is requantised, 60 channels_end, 64 shared. */
__attribute__((naked)) void nd_tile_row(int8_t *out, const int8_t *row, const int8_t *weights,
                                        const int32_t *channels, int32_t fours, const int32_t *channels_end,
                                        const int32_t *shared)
{
    __asm__ volatile(
        "push   {r0-r12, lr}    \n"
        "ldr    r4, [sp, #56]   \n"
        "bics   r5, r4, #1      \n"
        "add    lr, r1, r5, lsl #2 \n"
        "adr.w  r6, 2f + 1      \n" /* sixteen inputs a round, + 1: Thumb; */
        "adr.w  r7, 4f + 1      \n" /* no round, */
        "it     eq              \n"
        "moveq  r6, r7          \n"
        "adr.w  r7, 3f + 1      \n" /* or half a round first */
        "tst    r4, #2          \n"
        "it     ne              \n"
        "movne  r6, r7          \n"
        "str    r6, [sp, #8]    \n"
        "adr.w  r6, 6f + 1      \n"
        "adr.w  r7, 5f + 1      \n"
        "tst    r4, #1          \n"
        "it     ne              \n"
        "movne  r6, r7          \n"
        "str    r6, [sp, #48]   \n"
        "adr.w  r6, 7f + 1      \n"
        "adr.w  r7, 9f + 1      \n"
        "ldr    r4, [sp, #64]   \n"
        "cmp    r4, #0          \n"
        "it     eq              \n"
        "moveq  r6, r7          \n"
        "str    r6, [sp, #56]   \n"
        "mov    r1, r2          \n"
        "1:                     \n"
        "ldr    r0, [sp, #4]    \n"
        "movs   r2, #0          \n"
        "movs   r3, #0          \n"
        "movs   r4, #0          \n"
        "movs   r5, #0          \n"
        "ldr    pc, [sp, #8]    \n"
        ".p2align 2             \n"
        "2:                     \n"
        EIGHT_INPUTS
        ".p2align 2             \n"
        "3:                     \n"
        EIGHT_INPUTS
        ".p2align 2             \n"
        "4:                     \n"
        "cmp    r0, lr          \n"
        "bne.w  2b              \n"
        "ldr    pc, [sp, #48]   \n"
        ".p2align 2             \n"
        "5:                     \n"
        "ldr    r10, [r0], #4   \n"
        FOUR_INPUTS("r10")
        ".p2align 2             \n"
        "6:                     \n"
        "ldr    r12, [sp, #12]  \n"
        "subs   r2, r2, r3      \n"
        "subs   r4, r4, r5      \n"
        "ldr    pc, [sp, #56]   \n"
        ".p2align 2             \n"
        "7:                     \n"
        "ldr    r0, [sp, #64]   \n"
        "ldm    r12!, {r6-r9}   \n"
        "ldm    r0, {r0, r10, r11} \n"
        OF_ALL("r3", "", "r6")
        OF_ALL("r2", ", asr #8", "r7")
        OF_ALL("r5", "", "r8")
        OF_ALL("r4", ", asr #8", "r9")
        "8:                     \n"
        "str    r12, [sp, #12]  \n"
        "ldr    r6, [sp]        \n"
        "bfi    r3, r2, #8, #8  \n"
        "bfi    r3, r5, #16, #8 \n"
        "bfi    r3, r4, #24, #8 \n"
        "str    r3, [r6], #4    \n"
        "str    r6, [sp]        \n"
        "ldr    r7, [sp, #60]   \n"
        "cmp    r12, r7         \n"
        "bne.w  1b              \n"
        "add    sp, sp, #16     \n"
        "pop    {r4-r12, pc}    \n"
        ".p2align 2             \n"
        "9:                     \n"
        OF_ONE("r3", "")
        OF_ONE("r2", ", asr #8")
        OF_ONE("r5", "")
        OF_ONE("r4", ", asr #8")
        "b      8b              \n");
}

#else

void nd_tile_row(int8_t *out, const int8_t *row, const int8_t *weights, const int32_t *channels, int32_t fours,
                 const int32_t *channels_end, const int32_t *shared)
{
    for (; channels < channels_end; weights += 16 * fours)
        for (int32_t pair = 0; pair < 2; pair++) {
            int32_t sums[2] = {0, 0};
            for (int32_t i = 0; i < 2 * fours; i++) {
                const uint32_t w = nd_load_word(weights + 8 * i + 4 * pair), inputs = nd_load_word(row + i / 2 * 4);
                const uint32_t x = i % 2 ? nd_odd_bytes(inputs) : nd_even_bytes(inputs);
                sums[1] = nd_smlad(w, x, sums[1]);
                sums[0] = nd_smlad(nd_even_bytes(w), x, sums[0]);
            }
            sums[1] = nd_second_sum(sums[1], sums[0]);
            for (int32_t i = 0; i < 2; i++, channels += shared ? 1 : 4)
                *out++ = nd_output_floor(sums[i], *channels, shared ? shared : channels + 1);
        }
}

#endif
