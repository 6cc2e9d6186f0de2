/* nd_tile_4 for cores that issue two instructions at a time, a Cortex-M7: the same sums from the same operands.
 *
 * There a multiplication and a load of one word go together, a load of two words goes alone, and a multiplication cannot
 * use what the cycle before has loaded. So words are loaded one by one, two multiplications ahead of their use, and eight
 * cycles make sixteen products; nd_tile_4 takes fewer instructions for them and ten cycles or more.
 *
 * Loads run ahead: 8 bytes behind the column are read, and not used. */
#include "nd_dsp.h"
#include "nd_tile.h"

#if ND_DSP
#pragma GCC diagnostic ignored "-Wunused-parameter" /* the assembly uses them */

/* A word of weights, in r12, with the four pixels: r2 to r5 are the sums of the pair, r6 to r9 of its first channel. The
 * first two pixels are in r10 and r11. The next word and its first two pixels are loaded on the way, `w` and `x` bytes
 * from r1 and r0. */
#define TWO_TAPS(mac, s2, s3, s4, s5, s6, s7, s8, s9, w, x) \
    "sxtb16 lr, r12         \n"                             \
    mac "   r2, r12, r10" s2 "\n"                           \
    mac "   r3, r12, r11" s3 "\n"                           \
    mac "   r6, lr, r10" s6 "\n"                            \
    "ldr    r10, [r0, #" x " - 8] \n"                       \
    mac "   r7, lr, r11" s7 "\n"                            \
    "ldr    r11, [r0, #" x " - 4] \n"                       \
    mac "   r4, r12, r10" s4 "\n"                           \
    mac "   r5, r12, r11" s5 "\n"                           \
    "ldr    r12, [r1, #" w "] \n"                           \
    mac "   r8, lr, r10" s8 "\n"                            \
    "ldr    r10, [r0, #" x "] \n"                           \
    mac "   r9, lr, r11" s9 "\n"                            \
    "ldr    r11, [r0, #" x " + 4] \n"
#define FIRST TWO_TAPS("smuad", "", "", "", "", "", "", "", "", "4", "16")
#define NEXT \
    TWO_TAPS("smlad", ", r2", ", r3", ", r4", ", r5", ", r6", ", r7", ", r8", ", r9", "4 * \\i + 4", "16 * \\i + 16")

/* The stack: 0 where r0 is when the loop is entered, 4 by how much r1 is moved back then, 8 to 20 where each pixel is
 * written, 24 column, 28 the weights' end, 32 to 68 saved, then the last arguments: 72 words, then where r0 is when the last
 * round is done, 76 stride, then where the loop is entered, 80 exact, then where it is requantised. */
__attribute__((naked)) void nd_tile_4_dual(int8_t *out, const uint32_t *column, const int8_t *weights,
                                           const int8_t *weights_end, int32_t words, int32_t stride, int32_t exact)
{
    __asm__ volatile(
        "push   {r1-r12, lr}    \n"
        "sub    sp, sp, #20     \n"
        "ldr    r4, [sp, #72]   \n"
        "ldr    r5, [sp, #76]   \n"
        "ldr    r6, [sp, #80]   \n"
        "str    r1, [sp, #24]   \n"
        "str    r3, [sp, #28]   \n"
        "add    r8, r0, r5      \n"
        "add    r9, r8, r5      \n"
        "add    r10, r9, r5     \n"
        "strd   r0, r8, [sp, #8] \n"
        "strd   r9, r10, [sp, #16] \n"
        "add    r5, r1, r4, lsl #4 \n"
        "sub    r4, r4, #1      \n" /* all but the first word, twelve a round; the first round has what is left */
        "mov    r7, #12         \n"
        "udiv   r8, r4, r7      \n"
        "mls    r4, r8, r7, r4  \n"
        "sub    r9, r7, r4      \n" /* words of the first round that are left out */
        "add    r10, r1, #16    \n"
        "sub    r10, r10, r9, lsl #4 \n"
        "mov    r11, #-4        \n"
        "add    r11, r11, r9, lsl #2 \n"
        "strd   r10, r11, [sp]  \n"
        "mov    r7, #56         \n"
        "adr.w  r8, 3f + 1      \n" /* + 1: Thumb */
        "mls    r4, r4, r7, r8  \n"
        "adr.w  r7, 4f + 1      \n"
        "adr.w  r8, 6f + 1      \n"
        "cmp    r6, #0          \n"
        "it     ne              \n"
        "movne  r7, r8          \n"
        "sub    r5, r5, #192    \n"
        "str    r5, [sp, #72]   \n"
        "str    r4, [sp, #76]   \n"
        "str    r7, [sp, #80]   \n"
        "mov    r1, r2          \n"
        "1:                     \n"
        "ldr    r0, [sp, #24]   \n"
        "ldr    r12, [r1]       \n"
        "ldrd   r10, r11, [r0]  \n"
        FIRST
        "ldrd   r0, lr, [sp]    \n"
        "sub    r1, r1, lr      \n"
        "ldr    pc, [sp, #76]   \n"
        ".p2align 2             \n"
        "2:                     \n"
        "add    r0, r0, #192    \n"
        "add    r1, r1, #48     \n"
        ".irp   i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 \n"
        NEXT
        ".endr                  \n"
        "3:                     \n"
        "ldr    lr, [sp, #72]   \n"
        "cmp    r0, lr          \n"
        "bne.w  2b              \n"
        "add    r1, r1, #48     \n"
        "sub    r2, r2, r6      \n"
        "sub    r3, r3, r7      \n"
        "sub    r4, r4, r8      \n"
        "sub    r5, r5, r9      \n"
        "ldm    r1!, {r0, r10, r11, lr} \n"
        "ldr    pc, [sp, #80]   \n"
        ".p2align 2             \n"
        "4:                     \n"
        ALL(SHORT)
        "5:                     \n"
        "ldrd   r0, r10, [sp, #8] \n"
        "ldrd   r11, r12, [sp, #16] \n"
        "bfi    r6, r2, #8, #8  \n"
        "bfi    r7, r3, #8, #8  \n"
        "bfi    r8, r4, #8, #8  \n"
        "bfi    r9, r5, #8, #8  \n"
        "strh   r6, [r0], #2    \n"
        "strh   r7, [r10], #2   \n"
        "strh   r8, [r11], #2   \n"
        "strh   r9, [r12], #2   \n"
        "strd   r0, r10, [sp, #8] \n"
        "strd   r11, r12, [sp, #16] \n"
        "ldr    r10, [sp, #28]  \n"
        "cmp    r1, r10         \n"
        "bne.w  1b              \n"
        "add    sp, sp, #32     \n"
        "pop    {r4-r12, pc}    \n"
        ".p2align 2             \n"
        "6:                     \n"
        ALL(EXACT)
        "b      5b              \n");
}

#else

void nd_tile_4_dual(int8_t *out, const uint32_t *column, const int8_t *weights, const int8_t *weights_end, int32_t words,
                    int32_t stride, int32_t exact)
{
    nd_tile_4(out, column, weights, weights_end, words, stride, exact);
}

#endif
