/* nd_widen_4 for windows three pixels wide, one pixel apart, of a whole number of words in each pixel: what they share
 * is widened once. Of every four channels of a row first the even ones, then the odd ones: of each the first pixels of
 * the four windows, their second and their third ones. */
#include "nd_dsp.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* Six pixels beside each other, r1 bytes apart (r2 is 3 r1, r3 is 5 r1); the first one last, which steps on. */
#define SIX_PIXELS(step, rotation)           \
    "ldr    r5, [r0, r1]    \n"              \
    "ldr    r6, [r0, r1, lsl #1] \n"         \
    "ldr    r7, [r0, r2]    \n"              \
    "ldr    r8, [r0, r1, lsl #2] \n"         \
    "ldr    r9, [r0, r3]    \n"              \
    "ldr    r4, [r0]" step "\n"              \
    ".irp   x, r4, r5, r6, r7, r8, r9 \n"    \
    "sxtb16 \\x, \\x" rotation "\n"          \
    ".endr                  \n"              \
    "stm    r12!, {r4-r7}   \n"              \
    "stm    r12!, {r5-r8}   \n"              \
    "stm    r12!, {r6-r9}   \n"

/* The stack: 0 rows, 4 to 36 saved, 40 the step, then from row to row. */
__attribute__((naked)) void nd_widen_shared(uint32_t *to, const int8_t *from, int32_t depth, int32_t rows, int32_t step)
{
    __asm__ volatile(
        "push   {r3-r11, lr}    \n"
        "ldr    r4, [sp, #40]   \n"
        "sub    r4, r4, r2      \n"
        "str    r4, [sp, #40]   \n"
        "mov    r12, r0         \n"
        "mov    r0, r1          \n"
        "mov    r1, r2          \n"
        "add    r2, r1, r1, lsl #1 \n"
        "add    r3, r1, r1, lsl #2 \n"
        "1:                     \n"
        "lsr    lr, r1, #2      \n"
        "2:                     \n"
        SIX_PIXELS("", "")
        SIX_PIXELS(", #4", ", ror #8")
        "subs   lr, lr, #1      \n"
        "bne    2b              \n"
        "ldr    r4, [sp, #40]   \n"
        "ldr    r5, [sp]        \n"
        "add    r0, r0, r4      \n"
        "subs   r5, r5, #1      \n"
        "str    r5, [sp]        \n"
        "bne    1b              \n"
        "add    sp, sp, #4      \n"
        "pop    {r4-r11, pc}    \n");
}

#else

void nd_widen_shared(uint32_t *to, const int8_t *from, int32_t depth, int32_t rows, int32_t step)
{
    for (; rows > 0; rows--, from += step)
        for (int32_t i = 0; i < depth; i += 4)
            for (int32_t odd = 0; odd < 2; odd++)
                for (int32_t j = 0; j < 3; j++)
                    for (int32_t pixel = 0; pixel < 4; pixel++) {
                        const uint32_t word = nd_load_word(from + (pixel + j) * depth + i);
                        *to++ = odd ? nd_odd_bytes(word) : nd_even_bytes(word);
                    }
}

#endif
