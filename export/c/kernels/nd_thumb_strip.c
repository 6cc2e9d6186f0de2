/* Some rows of a depthwise convolution, from a strip of the image that has its borders, with the instructions that every
 * Thumb core has: one channel after another, four pixels at a time. */
#include "nd_narrow.h"

#if ND_THUMB

/* A row of up to seven taps of four pixels, the first ones left out: r0 in the strip, r1 to r4 from there to each window,
 * r5 + j weight, r12 column step. 15 instructions of two bytes a tap. */
#define TAPS_0_TO_6 \
    ".irp j, 0, 1, 2, 3, 4, 5, 6\n" \
    "ldrb r6, [r5, #\\j]\n" \
    "sxtb r6, r6\n" \
    "ldrsb r7, [r0, r1]\n" \
    "muls r7, r6, r7\n" \
    "add r8, r7\n" \
    "ldrsb r7, [r0, r2]\n" \
    "muls r7, r6, r7\n" \
    "add r9, r7\n" \
    "ldrsb r7, [r0, r3]\n" \
    "muls r7, r6, r7\n" \
    "add r10, r7\n" \
    "ldrsb r7, [r0, r4]\n" \
    "muls r7, r6, r7\n" \
    "add r11, r7\n" \
    "add r0, r12\n" \
    ".endr\n"

/* On the stack: what `narrow` needs, 0 r1, 4 r3, 8 to 20 r4 to r7, 24 r12, 28 lr; 32 start of the sums, 36 tile, 40
 * where a row of taps is entered, 44 the end of the channel's weights; 48 to 80 saved registers, then the parameters:
 * 84 out, 88 strip, 92 weights, 96 words, 100 channels, 104 tiles, 108 tiles_end, 112 column_step, 116 row_step,
 * 120 filter_width, 124 taps, 128 count, 132 lowest, 136 middle. Pointers to weights are too low by the
 * number of taps that are left out. */
__attribute__((naked)) void nd_thumb_strip(__attribute__((unused)) const nd_thumb_strip_params *t)
{
    __asm__ volatile(
        ".syntax unified\n"
        ND_NARROW_MACROS
        "sub sp, #56\n"
        "push {r4-r7, lr}\n"
        "add r1, sp, #20\n"
        "ldm r0!, {r2-r7}\n"
        "stm r1!, {r2-r7}\n"
        "ldm r0!, {r2-r7}\n"
        "stm r1!, {r2-r7}\n"
        "ldm r0!, {r2-r3}\n"
        "stm r1!, {r2-r3}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "push {r4-r7}\n"
        "sub sp, #48\n"
        "movs r1, #7\n"
        "ldr r0, [sp, #120]\n"
        "subs r1, r1, r0\n"
        "ldr r2, [sp, #92]\n"
        "subs r2, r2, r1\n"
        "str r2, [sp, #92]\n"
        "movs r0, #30\n"
        "muls r1, r0, r1\n"
        "adr r0, 7f\n"
        "adds r0, r0, r1\n"
        "adds r0, r0, #1\n" /* Thumb */
        "str r0, [sp, #40]\n"

        "5:\n" /* a channel */
        "ldr r0, [sp, #96]\n"
        "ldm r0!, {r4, r5, r6}\n"
        "str r0, [sp, #96]\n"
        "asrs r2, r4, #5\n"
        "str r2, [sp, #32]\n"
        "unpack 132, 136\n"
        "mov r0, sp\n"
        "stm r0!, {r1, r3, r4, r5, r6, r7}\n"
        "mov r1, r12\n"
        "mov r2, lr\n"
        "stm r0!, {r1, r2}\n"
        "ldr r0, [sp, #92]\n"
        "ldr r1, [sp, #124]\n"
        "adds r0, r0, r1\n"
        "str r0, [sp, #44]\n"
        "ldr r7, [sp, #104]\n"

        "6:\n" /* four pixels */
        "ldm r7!, {r1, r2, r3, r4}\n"
        "str r7, [sp, #36]\n"
        "ldr r5, [sp, #112]\n"
        "mov r12, r5\n"
        "ldr r5, [sp, #116]\n"
        "mov lr, r5\n"
        "ldr r5, [sp, #32]\n"
        "mov r8, r5\n"
        "mov r9, r5\n"
        "mov r10, r5\n"
        "mov r11, r5\n"
        "ldr r0, [sp, #88]\n"
        "ldr r5, [sp, #92]\n"
        "ldr r6, [sp, #40]\n"
        "bx r6\n"
        ".p2align 2\n"
        "7:\n" /* a row of taps */
        TAPS_0_TO_6
        "add r0, lr\n"
        "ldr r7, [sp, #120]\n"
        "adds r5, r5, r7\n"
        "ldr r6, [sp, #44]\n"
        "cmp r5, r6\n"
        "beq 8f\n"
        "ldr r6, [sp, #40]\n"
        "bx r6\n"
        "8:\n"

        "mov r0, sp\n"
        "ldm r0!, {r1, r3, r4, r5, r6, r7}\n"
        "ldm r0!, {r2}\n"
        "mov r12, r2\n"
        "ldr r2, [r0]\n"
        "mov lr, r2\n"
        "narrow r8, 132\n"
        "narrow r9, 132\n"
        "narrow r10, 132\n"
        "narrow r11, 132\n"
        "ldr r7, [sp, #36]\n"
        "ldm r7!, {r0}\n"
        "ldr r1, [sp, #84]\n"
        "adds r0, r0, r1\n"
        "ldr r1, [sp, #100]\n"
        "mov r3, r8\n"
        "strb r3, [r0]\n"
        "mov r3, r9\n"
        "strb r3, [r0, r1]\n"
        "adds r0, r0, r1\n"
        "mov r3, r10\n"
        "strb r3, [r0, r1]\n"
        "adds r0, r0, r1\n"
        "strb r2, [r0, r1]\n" /* r11 */
        "ldr r0, [sp, #108]\n"
        "cmp r7, r0\n"
        "beq 8f\n"
        "b 6b\n"

        "8:\n"
        "ldr r0, [sp, #44]\n"
        "str r0, [sp, #92]\n"
        "ldr r0, [sp, #84]\n"
        "adds r0, r0, #1\n"
        "str r0, [sp, #84]\n"
        "ldr r0, [sp, #88]\n"
        "adds r0, r0, #1\n"
        "str r0, [sp, #88]\n"
        "ldr r0, [sp, #128]\n"
        "subs r0, r0, #1\n"
        "str r0, [sp, #128]\n"
        "beq 8f\n"
        "b 5b\n"

        "8:\n"
        "add sp, #48\n"
        "pop {r4-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7}\n"
        "pop {r3}\n"
        "add sp, #56\n"
        "bx r3\n"
        ".purgem unpack\n"
        ".purgem narrow\n");
}

#else

static int32_t window(const int8_t *x, const int8_t *weights, const nd_thumb_strip_params *t)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < t->taps; i++) {
        sum += *x * weights[i];
        x += t->column_step + ((i + 1) % t->filter_width == 0 ? t->row_step : 0);
    }
    return sum;
}

void nd_thumb_strip(const nd_thumb_strip_params *t)
{
    for (int32_t c = 0; c < t->count; c++) {
        const uint32_t *words = t->words + ND_NARROW_WORDS * c;
        for (const int32_t *tile = t->tiles; tile < t->tiles_end; tile += 5)
            for (int32_t i = 0; i < 4; i++) {
                const int32_t sum = nd_narrow_start(words) + window(t->strip + tile[i] + c, t->weights + c * t->taps, t);
                t->out[tile[4] + i * t->channels + c] = nd_narrow(sum, words, t->lowest, t->middle);
            }
    }
}

#endif
