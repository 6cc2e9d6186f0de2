/* The whole words of four windows as columns for nd_tile_4. A window has `rows` rows of 4 * words bytes, `step` bytes
 * apart; the windows begin `apart` bytes from each other. Of every four bytes (b0, b2) of each window, then (b1, b3) of
 * each. At least one word of one row. Returns where the columns end. */
#include "nd_dsp.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* r0 to r3 are the windows, r12 where they go, lr the words that are left of a row. The stack: 0 words, 4 to 36 saved,
 * 40 rows, 44 the step, then from row to row. */
__attribute__((naked)) uint32_t *nd_widen_4(uint32_t *to, const int8_t *from, int32_t apart, int32_t words,
                                            int32_t rows, int32_t step)
{
    __asm__ volatile(
        "push   {r3-r11, lr}    \n"
        "ldr    r4, [sp, #44]   \n"
        "sub    r4, r4, r3, lsl #2 \n"
        "str    r4, [sp, #44]   \n"
        "mov    r12, r0         \n"
        "mov    r0, r1          \n"
        "add    r1, r0, r2      \n"
        "add    r3, r1, r2, lsl #1 \n"
        "add    r2, r1, r2      \n"
        "1:                     \n"
        "ldr    lr, [sp]        \n"
        "2:                     \n"
        "ldr    r8, [r0], #4    \n"
        "ldr    r9, [r1], #4    \n"
        "ldr    r10, [r2], #4   \n"
        "ldr    r11, [r3], #4   \n"
        "sxtb16 r4, r8          \n"
        "sxtb16 r5, r9          \n"
        "sxtb16 r6, r10         \n"
        "sxtb16 r7, r11         \n"
        "sxtb16 r8, r8, ror #8  \n"
        "sxtb16 r9, r9, ror #8  \n"
        "sxtb16 r10, r10, ror #8 \n"
        "sxtb16 r11, r11, ror #8 \n"
        "stm    r12!, {r4-r11}  \n"
        "subs   lr, lr, #1      \n"
        "bne    2b              \n"
        "ldrd   r5, r4, [sp, #40] \n"
        "subs   r5, r5, #1      \n"
        "str    r5, [sp, #40]   \n"
        "add    r0, r0, r4      \n"
        "add    r1, r1, r4      \n"
        "add    r2, r2, r4      \n"
        "add    r3, r3, r4      \n"
        "bne    1b              \n"
        "mov    r0, r12         \n"
        "add    sp, sp, #4      \n"
        "pop    {r4-r11, pc}    \n");
}

#else

uint32_t *nd_widen_4(uint32_t *to, const int8_t *from, int32_t apart, int32_t words, int32_t rows, int32_t step)
{
    for (int32_t row = 0; row < rows; row++)
        for (int32_t i = 0; i < words; i++, to += 8)
            for (int32_t pixel = 0; pixel < 4; pixel++) {
                const uint32_t word = nd_load_word(from + pixel * apart + row * step + 4 * i);
                to[pixel] = nd_even_bytes(word);
                to[pixel + 4] = nd_odd_bytes(word);
            }
    return to;
}

#endif
