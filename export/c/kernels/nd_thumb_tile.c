/* Four pixels by up to eight channels of a product of matrices, with the instructions that every Thumb core has.
 *
 * Two pixels lie in one word, first + (second << 16), and one multiplication by a weight gives both products, the lower
 * one's borrow in the upper. Of two taps together the lower field is still exact, if not both weights are -128. The upper
 * one is shifted down and added to the second pixel's sum, with the carry that the shift leaves, which is the lower
 * field's sign: just what it had borrowed. The first pixel's sum is what is left of the whole words, added modulo 2^32,
 * without the second's.
 *
 * Weights of one channel lie eight bytes apart, as the taps of the column do, so that one register walks through both. */
#include "nd_narrow.h"

#if ND_THUMB

/* Two taps: r0 column, r1 weights - column; sums: r2 of pixel 1, r8 of pixels 0 + (1 << 16), r3 and r9 of the other two.
 * 17 instructions of two bytes. */
#define TWO_TAPS \
    "ldrsb r7, [r0, r1]\n" \
    "ldm r0!, {r4, r5}\n" \
    "muls r4, r7, r4\n" \
    "muls r5, r7, r5\n" \
    "ldrsb r7, [r0, r1]\n" \
    "ldm r0!, {r6}\n" \
    "muls r6, r7, r6\n" \
    "adds r4, r4, r6\n" \
    "ldm r0!, {r6}\n" \
    "muls r7, r6, r7\n" \
    "adds r5, r5, r7\n" \
    "add r8, r4\n" \
    "asrs r4, r4, #16\n" \
    "adcs r2, r2, r4\n" \
    "add r9, r5\n" \
    "asrs r5, r5, #16\n" \
    "adcs r3, r3, r5\n"

/* On the stack: 0 where the loop is entered, 4 to 36 saved registers, then the parameters: 40 out, 44 column, 48 end,
 * 52 weights, 56 words, 60 count, 64 stride, 68 lowest, 72 middle. */
__attribute__((naked)) void nd_thumb_tile(__attribute__((unused)) const nd_thumb_tile_params *t)
{
    __asm__ volatile(
        ".syntax unified\n"
        ND_NARROW_MACROS
        "sub sp, #36\n"
        "push {r4-r7, lr}\n"
        "add r1, sp, #20\n"
        "ldm r0!, {r2-r7}\n"
        "stm r1!, {r2-r7}\n"
        "ldm r0!, {r2-r4}\n"
        "stm r1!, {r2-r4}\n"
        "ldr r1, [sp, #24]\n"
        "ldr r2, [sp, #28]\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "subs r3, r2, r1\n" /* 16 bytes for two taps, eight taps a round: */
        "rsbs r3, r3, #0\n"
        "lsls r3, r3, #26\n"
        "lsrs r3, r3, #30\n" /* the first leaves out as many pairs, of 34 bytes, as are missing */
        "movs r2, #34\n"
        "muls r3, r2, r3\n"
        "adr r2, 6f\n"
        "adds r3, r3, r2\n"
        "adds r3, r3, #1\n" /* Thumb */
        "push {r3-r7}\n"

        "5:\n"
        "ldr r0, [sp, #48]\n"
        "mov r12, r0\n"
        "ldr r0, [sp, #56]\n"
        "ldr r2, [r0]\n"
        "asrs r2, r2, #5\n"
        "lsls r3, r2, #16\n"
        "adds r3, r3, r2\n"
        "mov r8, r3\n"
        "mov r9, r3\n"
        "movs r3, r2\n"
        "ldr r0, [sp, #44]\n"
        "ldr r1, [sp, #52]\n"
        "subs r1, r1, r0\n"
        "ldr r4, [sp]\n"
        "bx r4\n"
        ".p2align 2\n"
        "6:\n"
        ".rept 4\n"
        TWO_TAPS
        ".endr\n"
        "cmp r0, r12\n"
        "bne 6b\n"

        "mov r10, r2\n"
        "lsls r2, r2, #16\n"
        "mov r0, r8\n"
        "subs r0, r0, r2\n"
        "mov r8, r0\n"
        "mov r11, r3\n"
        "lsls r3, r3, #16\n"
        "mov r0, r9\n"
        "subs r0, r0, r3\n"
        "mov r9, r0\n"
        "ldr r0, [sp, #56]\n"
        "ldm r0!, {r4, r5, r6}\n"
        "str r0, [sp, #56]\n"
        "unpack 68, 72\n"
        "narrow r8, 68\n"
        "narrow r10, 68\n"
        "narrow r9, 68\n"
        "narrow r11, 68\n"
        "ldr r0, [sp, #40]\n"
        "ldr r1, [sp, #64]\n"
        "mov r3, r8\n"
        "strb r3, [r0]\n"
        "adds r3, r0, #1\n"
        "str r3, [sp, #40]\n"
        "mov r3, r10\n"
        "strb r3, [r0, r1]\n"
        "adds r0, r0, r1\n"
        "mov r3, r9\n"
        "strb r3, [r0, r1]\n"
        "adds r0, r0, r1\n"
        "strb r2, [r0, r1]\n" /* r11 */
        "ldr r0, [sp, #52]\n"
        "adds r0, r0, #1\n"
        "str r0, [sp, #52]\n"
        "ldr r0, [sp, #60]\n"
        "subs r0, r0, #1\n"
        "str r0, [sp, #60]\n"
        "beq 7f\n"
        "b 5b\n"

        "7:\n"
        "pop {r3-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7}\n"
        "pop {r3}\n"
        "add sp, #36\n"
        "bx r3\n"
        ".purgem unpack\n"
        ".purgem narrow\n");
}

#else

/* The sums of two pixels, channel 0. */
static void two_sums(int32_t sum[2], int32_t start, const uint32_t *x, const uint32_t *end, const int8_t *w)
{
    uint32_t both = (uint32_t)start + ((uint32_t)start << 16);
    sum[1] = start;
    for (; x < end; x += 4, w += 16) {
        const uint32_t word = x[0] * (uint32_t)w[0] + x[2] * (uint32_t)w[8];
        both += word;
        sum[1] += (int16_t)(word >> 16) + (int32_t)(word >> 15 & 1u);
    }
    sum[0] = (int32_t)(both - ((uint32_t)sum[1] << 16));
}

void nd_thumb_tile(const nd_thumb_tile_params *t)
{
    for (int32_t c = 0; c < t->count; c++) {
        const uint32_t *words = t->words + ND_NARROW_WORDS * c;
        int32_t sum[4];
        two_sums(sum, nd_narrow_start(words), t->column, t->end, t->weights + c);
        two_sums(sum + 2, nd_narrow_start(words), t->column + 1, t->end, t->weights + c);
        for (int32_t i = 0; i < 4; i++)
            t->out[i * t->stride + c] = nd_narrow(sum[i], words, t->lowest, t->middle);
    }
}

#endif
