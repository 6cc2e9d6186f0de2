/* One row of inputs by four rows of weights at a time, with the instructions that every Thumb core has. */
#include "nd_narrow.h"

#if ND_THUMB

/* One input by four weights: r0 + r1 input, r2 to r5 + r1 weights. 14 instructions of two bytes. */
#define TAP \
    "ldrsb r6, [r0, r1]\n" \
    "ldrsb r7, [r2, r1]\n" \
    "muls r7, r6, r7\n" \
    "add r8, r7\n" \
    "ldrsb r7, [r3, r1]\n" \
    "muls r7, r6, r7\n" \
    "add r9, r7\n" \
    "ldrsb r7, [r4, r1]\n" \
    "muls r7, r6, r7\n" \
    "add r10, r7\n" \
    "ldrsb r7, [r5, r1]\n" \
    "muls r7, r6, r7\n" \
    "add r11, r7\n" \
    "adds r1, r1, #1\n"

/* On the stack: what `narrow` needs where all outputs share it, 0 r1, 4 r3, 8 to 20 r4 to r7, 24 r12, 28 lr; 32 where
 * the loop is entered; 36 to 68 saved registers, then the parameters: 72 out, 76 input, 80 weights, 84 starts, 88 words,
 * 92 shared, 96 inputs, 100 fours, 104 lowest, 108 middle. */
__attribute__((naked)) void nd_thumb_rows(__attribute__((unused)) const nd_thumb_rows_params *t)
{
    __asm__ volatile(
        ".syntax unified\n"
        ND_NARROW_MACROS
        "sub sp, #40\n"
        "push {r4-r7, lr}\n"
        "add r1, sp, #20\n"
        "ldm r0!, {r2-r7}\n"
        "stm r1!, {r2-r7}\n"
        "ldm r0!, {r2-r5}\n"
        "stm r1!, {r2-r5}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "push {r4-r7}\n"
        "sub sp, #36\n"
        "ldr r0, [sp, #96]\n" /* eight inputs a round, the first has fewer */
        "rsbs r0, r0, #0\n"
        "lsls r0, r0, #29\n"
        "lsrs r0, r0, #29\n"
        "movs r1, #28\n"
        "muls r0, r1, r0\n"
        "adr r1, 6f\n"
        "adds r0, r0, r1\n"
        "adds r0, r0, #1\n" /* Thumb */
        "str r0, [sp, #32]\n"
        "ldr r0, [sp, #88]\n"
        "ldm r0!, {r4, r5, r6}\n"
        "unpack 104, 108\n"
        "mov r0, sp\n"
        "stm r0!, {r1, r3, r4, r5, r6, r7}\n"
        "mov r1, r12\n"
        "mov r2, lr\n"
        "stm r0!, {r1, r2}\n"

        "5:\n"
        "ldr r0, [sp, #84]\n"
        "ldm r0!, {r4, r5, r6, r7}\n"
        "str r0, [sp, #84]\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "ldr r1, [sp, #96]\n"
        "ldr r2, [sp, #80]\n"
        "adds r2, r2, r1\n" /* ends of the rows */
        "adds r3, r2, r1\n"
        "adds r4, r3, r1\n"
        "adds r5, r4, r1\n"
        "str r5, [sp, #80]\n"
        "ldr r0, [sp, #76]\n"
        "adds r0, r0, r1\n"
        "rsbs r1, r1, #0\n"
        "ldr r6, [sp, #32]\n"
        "bx r6\n"
        ".p2align 2\n"
        "6:\n"
        ".rept 8\n"
        TAP
        ".endr\n"
        "bne 6b\n"

        "ldr r0, [sp, #92]\n"
        "cmp r0, #0\n"
        "beq 7f\n"
        "mov r0, sp\n"
        "ldm r0!, {r1, r3, r4, r5, r6, r7}\n"
        "ldm r0!, {r2}\n"
        "mov r12, r2\n"
        "ldr r2, [r0]\n"
        "mov lr, r2\n"
        "narrow r8, 104\n"
        "narrow r9, 104\n"
        "narrow r10, 104\n"
        "narrow r11, 104\n"
        "b 8f\n"
        "7:\n"
        "bl 9f\n"
        "narrow r8, 104\n"
        "bl 9f\n"
        "narrow r9, 104\n"
        "bl 9f\n"
        "narrow r10, 104\n"
        "bl 9f\n"
        "narrow r11, 104\n"
        "8:\n"
        "ldr r0, [sp, #72]\n"
        "strb r2, [r0, #3]\n" /* r11 */
        "mov r1, r8\n"
        "strb r1, [r0]\n"
        "mov r1, r9\n"
        "strb r1, [r0, #1]\n"
        "mov r1, r10\n"
        "strb r1, [r0, #2]\n"
        "adds r0, r0, #4\n"
        "str r0, [sp, #72]\n"
        "ldr r0, [sp, #100]\n"
        "subs r0, r0, #1\n"
        "str r0, [sp, #100]\n"
        "beq 8f\n"
        "b 5b\n"

        "9:\n" /* the next output's words, unpacked */
        "push {lr}\n"
        "ldr r0, [sp, #92]\n"
        "ldm r0!, {r4, r5, r6}\n"
        "str r0, [sp, #92]\n"
        "unpack 108, 112\n"
        "pop {pc}\n"

        "8:\n"
        "add sp, #36\n"
        "pop {r4-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7}\n"
        "pop {r3}\n"
        "add sp, #40\n"
        "bx r3\n"
        ".purgem unpack\n"
        ".purgem narrow\n");
}

#else

void nd_thumb_rows(const nd_thumb_rows_params *t)
{
    for (int32_t n = 0; n < 4 * t->fours; n++) {
        int32_t sum = t->starts[n];
        for (int32_t i = 0; i < t->inputs; i++)
            sum += t->input[i] * t->weights[n * t->inputs + i];
        t->out[n] = nd_narrow(sum, t->words + (t->shared ? 0 : ND_NARROW_WORDS * n), t->lowest, t->middle);
    }
}

#endif
