/* nd_plane.h: one channel of a depthwise convolution, the inner loops of nd_depthwise_dsp. A file that includes it says
 * before: TAPS, the filter's width (3, 5 or 7), STRIDE along a row (1 or 2), and RELU, 1 where the output's zero point
 * is -128.
 *
 * A channel's rows are int16, 256 times the input, two in a word; outputs[y][x] = requantize(bias + sum of
 * taps[i][k] * row[y * stride + i * dilation][x * STRIDE + k]). A sum is 256 times the real one. Four outputs of a row
 * are made at a time, then two for what is left: reads end at most one output further than a row of outputs does.
 *
 * Requantisation is nd_requantize_fast's, after a shift of the sum to twice the real one. Where RELU is 1, it is
 * ((sum * multiplier >> 32) + rounding) >> right, clamped to int8; for 3 TAPS right is 16, and the taps and the bias are
 * shifted to the left by the channel's own number. operators/relu_words.py makes these numbers and has the proof. */
#ifndef ND_PLANE_H
#define ND_PLANE_H

#include "nd_dsp.h"

/* All steps are in bytes. The assembly knows the order. */
typedef struct {
    int32_t tap_step; /* between the rows of a window */
    int32_t width;    /* outputs in a row */
    int32_t row_step; /* between the windows of two rows of outputs */
    int32_t height;   /* rows of outputs */
    int32_t step;     /* between two outputs; one row follows the other */
    int32_t filter_height;
    uint32_t zero; /* a pair of zero points, as in the rows */
    /* Where TAPS is not 3: filter_height * TAPS + 1 words of working memory, then for each row of outputs the first row
     * of taps that meets the image and, times 2^16, how many do, one at least. */
    uint32_t more[];
} nd_plane;

/* `taps`: [filter_height][TAPS]. `channel`: the bias as the sums are, multiplier, rounding, shift. */
typedef void nd_plane_kernel(int8_t *out, const uint32_t *x, const nd_plane *plane, const int8_t *taps,
                             const int32_t *channel);

void nd_depthwise_dsp(int8_t *output, const int8_t *input, uint32_t *scratch, int32_t rows, const nd_conv_params *p,
                      nd_plane_kernel *kernel);

#ifdef TAPS

#if ND_DSP

/* Four outputs, r4 to r7, and two, of one row of the window: words of the row at r1 go to r8 and r9 (and r10).
 * Multiplying-adding halves of words saves words: a tap at the end of one pair and at the start of the next. */

#if TAPS == 3 /* taps 0 and 1 in r11, 1 and 2 in r12; they lie on the stack. The sums start at a to d. */
#if STRIDE == 1
#define FOUR(w, a, b, c, d)          \
    "ldmia  r1, {r8-r10}         \n" \
    "ldrd   r11, r12, [sp, #" w "] \n" \
    "smlad  r4, r8, r11, " a "   \n" \
    "smlatb r5, r8, r11, " b "   \n" \
    "smlad  r6, r9, r11, " c "   \n" \
    "smlatb r7, r9, r11, " d "   \n" \
    "smlabt r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r12, r5      \n" \
    "smlabt r6, r10, r12, r6     \n" \
    "smlad  r7, r10, r12, r7     \n"
#define TWO(w, a, b)                 \
    "ldrd   r8, r9, [r1]         \n" \
    "ldrd   r11, r12, [sp, #" w "] \n" \
    "smlad  r4, r8, r11, " a "   \n" \
    "smlatb r5, r8, r11, " b "   \n" \
    "smlabt r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r12, r5      \n"
#else
#define FOUR(w, a, b, c, d)          \
    "ldmia  r1, {r8-r10}         \n" \
    "ldrd   r11, r12, [sp, #" w "] \n" \
    "smlad  r4, r8, r11, " a "   \n" \
    "smlad  r5, r9, r11, " b "   \n" \
    "smlad  r6, r10, r11, " c "  \n" \
    "smlabt r4, r9, r12, r4      \n" \
    "ldrd   r8, r9, [r1, #12]    \n" \
    "smlabt r5, r10, r12, r5     \n" \
    "smlad  r7, r8, r11, " d "   \n" \
    "smlabt r6, r8, r12, r6      \n" \
    "smlabt r7, r9, r12, r7      \n"
#define TWO(w, a, b)                 \
    "ldmia  r1, {r8-r10}         \n" \
    "ldrd   r11, r12, [sp, #" w "] \n" \
    "smlad  r4, r8, r11, " a "   \n" \
    "smlad  r5, r9, r11, " b "   \n" \
    "smlabt r4, r9, r12, r4      \n" \
    "smlabt r5, r10, r12, r5     \n"
#endif
#endif

#if TAPS == 5 /* taps 0 and 1 in r10, 1 and 2 in r11, 2 and 3 in r12, 3 and 4 in lr; r3 points to them */
#if STRIDE == 1
#define FOUR                         \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlatb r5, r8, r10, r5      \n" \
    "smlad  r6, r9, r10, r6      \n" \
    "smlatb r7, r9, r10, r7      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r6, r8, r12, r6      \n" \
    "smlad  r7, r8, r11, r7      \n" \
    "smlabt r4, r8, lr, r4       \n" \
    "smlad  r5, r8, lr, r5       \n" \
    "smlabt r6, r9, lr, r6       \n" \
    "smlad  r7, r9, lr, r7       \n"
#define TWO                          \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlatb r5, r8, r10, r5      \n" \
    "ldr    r8, [r1, #8]         \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "smlabt r4, r8, lr, r4       \n" \
    "smlad  r5, r8, lr, r5       \n"
#else
#define FOUR                         \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlad  r5, r9, r10, r5      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "subs   r0, r0, #1           \n" \
    "smlabt r4, r8, lr, r4       \n" \
    "smlad  r5, r8, r12, r5      \n" \
    "smlad  r6, r8, r10, r6      \n" \
    "smlabt r5, r9, lr, r5       \n" \
    "smlad  r6, r9, r12, r6      \n" \
    "smlad  r7, r9, r10, r7      \n" \
    "ldrd   r8, r9, [r1, #16]    \n" \
    "smlabt r6, r8, lr, r6       \n" \
    "smlad  r7, r8, r12, r7      \n" \
    "smlabt r7, r9, lr, r7       \n"
#define TWO                          \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlad  r5, r9, r10, r5      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "smlabt r4, r8, lr, r4       \n" \
    "smlad  r5, r8, r12, r5      \n" \
    "smlabt r5, r9, lr, r5       \n"
#endif
#endif

#if TAPS == 7 /* as five; in time taps 4 and 5 in r10, 5 and 6 in r11 (or r11 and lr) */
#if STRIDE == 1
#define FOUR                         \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlatb r5, r8, r10, r5      \n" \
    "smlad  r6, r9, r10, r6      \n" \
    "smlatb r7, r9, r10, r7      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r7, r8, r11, r7      \n" \
    "ldrd   r10, r11, [r3], #8   \n" \
    "smlad  r5, r8, lr, r5       \n" \
    "smlad  r6, r8, r12, r6      \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "ldr    r8, [r1, #16]        \n" \
    "smlad  r7, r9, lr, r7       \n" \
    "smlabt r4, r9, r11, r4      \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "smlad  r6, r9, r10, r6      \n" \
    "smlabt r6, r8, r11, r6      \n" \
    "smlad  r7, r8, r11, r7      \n"
#define TWO                          \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlatb r5, r8, r10, r5      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "ldrd   r10, r11, [r3], #8   \n" \
    "smlad  r5, r8, lr, r5       \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlabt r4, r9, r11, r4      \n" \
    "smlad  r5, r9, r11, r5      \n"
#else
#define FOUR                         \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "ldrd   r11, lr, [r3], #8    \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlad  r5, r9, r10, r5      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r4, r8, r11, r4      \n" \
    "smlad  r5, r8, r12, r5      \n" \
    "smlad  r6, r8, r10, r6      \n" \
    "smlabt r4, r9, lr, r4       \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "smlad  r6, r9, r12, r6      \n" \
    "smlad  r7, r9, r10, r7      \n" \
    "ldrd   r8, r9, [r1, #16]    \n" \
    "smlabt r5, r8, lr, r5       \n" \
    "smlad  r6, r8, r11, r6      \n" \
    "smlad  r7, r8, r12, r7      \n" \
    "ldr    r8, [r1, #24]        \n" \
    "smlabt r6, r9, lr, r6       \n" \
    "smlad  r7, r9, r11, r7      \n" \
    "smlabt r7, r8, lr, r7       \n"
#define TWO                          \
    "ldmia  r3!, {r10-r12, lr}   \n" \
    "ldrd   r8, r9, [r1]         \n" \
    "ldrd   r11, lr, [r3], #8    \n" \
    "smlad  r4, r8, r10, r4      \n" \
    "smlad  r5, r9, r10, r5      \n" \
    "smlad  r4, r9, r12, r4      \n" \
    "ldrd   r8, r9, [r1, #8]     \n" \
    "subs   r0, r0, #1           \n" \
    "smlad  r4, r8, r11, r4      \n" \
    "smlad  r5, r8, r12, r5      \n" \
    "ldr    r8, [r1, #16]        \n" \
    "smlabt r4, r9, lr, r4       \n" \
    "smlad  r5, r9, r11, r5      \n" \
    "smlabt r5, r8, lr, r5       \n"
#endif
#endif

/* Multiplier r8, rounding r9, shift r10. */
#if RELU && TAPS == 3
#define REQUANTIZE(sum)                  \
    "smmla  " sum ", " sum ", r8, r9 \n" \
    "ssat   " sum ", #8, " sum ", asr #16 \n"
#elif RELU
#define REQUANTIZE(sum)                  \
    "smmla  " sum ", " sum ", r8, r9 \n" \
    "asr    " sum ", " sum ", r10    \n" \
    "ssat   " sum ", #8, " sum "     \n"
#else
#define REQUANTIZE(sum)                  \
    "asr    " sum ", " sum ", #7     \n" \
    "smmlar r11, " sum ", r8, r9     \n" \
    "add    r11, r11, " sum ", asr #31 \n" \
    "asr    r11, r11, r10            \n" \
    "ssat   " sum ", #8, r11         \n"
#endif

#if STRIDE == 1
#define TILE "#8" /* bytes of a row of x under four outputs */
#else
#define TILE "#16"
#endif

/* Four outputs to r0 on, lr apart; r3 counts the outputs of the row that are left after them, less 3. The fourth is
 * written after that. */
#define STORE                              \
    "subs   r3, r3, #4                 \n" \
    "add    r8, r0, lr                 \n" \
    "strb   r4, [r0]                   \n" \
    "strb   r5, [r8]                   \n" \
    "strb   r6, [r0, lr, lsl #1]       \n" \
    "add    r0, r0, lr, lsl #2         \n"

#define STORE_FOURTH(condition) "strb" condition " r7, [r8, lr, lsl #1] \n"

#if TAPS == 3

/* A row of taps to pairs in the first two registers. */
#if RELU
#define LOAD_TAP(to, at) "ldrsb  " to ", [r3, #" at "] \n" "lsl    " to ", " to ", r11 \n"
#define LOAD_SHIFT ""
#else
#define LOAD_TAP(to, at) "ldrsb  " to ", [r3, #" at "] \n"
#define LOAD_SHIFT "ldr    r10, [sp, #28] \n"
#endif
#define PAIRS(one, two, three, a, b, c)      \
    LOAD_TAP(one, a)                         \
    LOAD_TAP(two, b)                         \
    LOAD_TAP(three, c)                       \
    "pkhbt  " one ", " one ", " two ", lsl #16 \n" \
    "pkhbt  " two ", " two ", " three ", lsl #16 \n"

/* r0 out, r1 x, r2 tap_step, r3 outputs left, lr step. The stack: 0 x of the row, 4 width - 3, 8 row_step, 12 where x
 * ends, 16 bias, multiplier, rounding, shift, 32 taps. */
static __attribute__((naked)) void plane_kernel(ND_UNUSED int8_t *out, ND_UNUSED const uint32_t *x,
                                                ND_UNUSED const nd_plane *plane, ND_UNUSED const int8_t *taps,
                                                ND_UNUSED const int32_t *channel)
{
    __asm__ volatile(
        "push   {r4-r11, lr}    \n"
        "ldr    r12, [sp, #36]  \n"
        "ldr    r11, [r12, #12] \n"
        PAIRS("r4", "r5", "r6", "0", "1", "2")
        PAIRS("r6", "r7", "r8", "3", "4", "5")
        PAIRS("r8", "r9", "r10", "6", "7", "8")
        "push   {r4-r9}         \n"
        "ldmia  r12, {r8-r11}   \n"
        "push   {r8-r11}        \n"
        "ldmia  r2, {r2, r4-r7} \n"
        "mov    lr, r7          \n"
        "mla    r6, r5, r6, r1  \n"
        "sub    r4, r4, #3      \n"
        "push   {r1, r4-r6}     \n"
        "1:                     \n" /* a row */
        "ldr    r3, [sp, #4]    \n"
        "cmp    r3, #0          \n"
        "blt    4f              \n"
        "2:                     \n"
        "ldr    r7, [sp, #16]   \n"
        FOUR("32", "r7", "r7", "r7", "r7")
        "add    r1, r1, r2      \n"
        FOUR("40", "r4", "r5", "r6", "r7")
        "add    r1, r1, r2      \n"
        FOUR("48", "r4", "r5", "r6", "r7")
        "sub    r1, r1, r2, lsl #1 \n"
        "add    r1, r1, " TILE " \n"
        "ldrd   r8, r9, [sp, #20] \n"
        LOAD_SHIFT
        REQUANTIZE("r4")
        REQUANTIZE("r5")
        REQUANTIZE("r6")
        REQUANTIZE("r7")
        STORE
        "bmi    3f              \n"
        STORE_FOURTH("")
        "b      2b              \n");
    __asm__ volatile(
        "3:                     \n"
        "adds   r3, r3, #3      \n"
        "it     ge              \n"
        STORE_FOURTH("ge")
        "ble    6f              \n"
        "b      5f              \n"
        "4:                     \n"
        "adds   r3, r3, #3      \n"
        "5:                     \n" /* one or two outputs */
        "ldr    r5, [sp, #16]   \n"
        TWO("32", "r5", "r5")
        "add    r1, r1, r2      \n"
        TWO("40", "r4", "r5")
        "add    r1, r1, r2      \n"
        TWO("48", "r4", "r5")
        "ldrd   r8, r9, [sp, #20] \n"
        LOAD_SHIFT
        REQUANTIZE("r4")
        REQUANTIZE("r5")
        "strb   r4, [r0]        \n"
        "cmp    r3, #2          \n"
        "it     eq              \n"
        "strbeq r5, [r0, lr]    \n"
        "6:                     \n"
        "ldr    r1, [sp]        \n"
        "ldrd   r8, r9, [sp, #8] \n"
        "mla    r0, r3, lr, r0  \n" /* r3 is -1 where the last of four was one too many */
        "add    r1, r1, r8      \n"
        "str    r1, [sp]        \n"
        "cmp    r1, r9          \n"
        "bne    1b              \n"
        "add    sp, sp, #56     \n"
        "pop    {r4-r11, pc}    \n");
}

#else

/* A row of taps at r3 to pairs at lr, their sum times the zero point is added to r0. */
#if TAPS == 5
#define PAIRS                        \
    "ldr    r4, [r3]             \n" \
    "ldr    r5, [r3, #1]         \n" \
    "add    r3, r3, #5           \n" \
    "sxtb16 r6, r4               \n" \
    "sxtb16 r7, r4, ror #8       \n" \
    "sxtb16 r8, r5, ror #8       \n" \
    "smlad  r0, r6, r12, r0      \n" \
    "smlad  r0, r7, r12, r0      \n" \
    "smlatb r0, r8, r12, r0      \n" \
    "pkhbt  r4, r6, r7, lsl #16  \n" \
    "pkhbt  r5, r7, r6           \n" \
    "pkhtb  r6, r7, r6, asr #16  \n" \
    "pkhtb  r7, r8, r7, asr #16  \n" \
    "stmia  lr!, {r4-r7}         \n"
#define PAIRS_BYTES(to, rows) "lsl    " to ", " rows ", #4 \n"
#else
#define PAIRS                        \
    "ldr    r4, [r3]             \n" \
    "ldr    r5, [r3, #3]         \n" \
    "add    r3, r3, #7           \n" \
    "sxtb16 r6, r4               \n" \
    "sxtb16 r7, r4, ror #8       \n" \
    "sxtb16 r8, r5               \n" \
    "sxtb16 r9, r5, ror #8       \n" \
    "smlad  r0, r6, r12, r0      \n" \
    "smlad  r0, r7, r12, r0      \n" \
    "smlatb r0, r8, r12, r0      \n" \
    "smlad  r0, r9, r12, r0      \n" \
    "pkhbt  r4, r6, r7, lsl #16  \n" \
    "pkhbt  r5, r7, r6           \n" \
    "pkhtb  r6, r7, r6, asr #16  \n" \
    "pkhbt  r7, r8, r9, lsl #16  \n" \
    "pkhtb  r10, r9, r8, asr #16 \n" \
    "pkhbt  r9, r9, r8           \n" \
    "stmia  lr!, {r4-r7, r9, r10} \n"
#define PAIRS_BYTES(to, rows)                  \
    "add    " to ", " rows ", " rows ", lsl #1 \n" \
    "lsl    " to ", " to ", #3                 \n"
#endif

/* Rows of taps outside the image are left out: their products are added to the bias.
 *
 * r0 rows of the window left, or out, r1 x, r2 tap_step, r3 taps, or outputs left, lr taps or step. The stack: 0 x of
 * the row, 4 x, 8 outputs left, 12 out, 16 rows of the window, 20 their taps, 24 width - 3, 28 row_step, 32 where x
 * ends, 36 multiplier, rounding, 44 shift, 48 step, 52 the next row's taps inside, 56 sums: of the taps of the first
 * 0, 1, ... rows, times the zero point, 60 all taps, 64 twice the bias of the row, 72 bias of a row all outside. */
static __attribute__((naked)) void plane_kernel(ND_UNUSED int8_t *out, ND_UNUSED const uint32_t *x,
                                                ND_UNUSED const nd_plane *plane, ND_UNUSED const int8_t *taps,
                                                ND_UNUSED const int32_t *channel)
{
    __asm__ volatile(
        "push   {r4-r11, lr}    \n"
        "sub    sp, sp, #76     \n"
        "str    r1, [sp]        \n"
        "str    r0, [sp, #12]   \n"
        "ldrd   r11, r12, [r2, #20] \n"
        "add    lr, r2, #28     \n"
        "str    lr, [sp, #60]   \n"
        PAIRS_BYTES("r4", "r11")
        "add    r1, lr, r4      \n"
        "str    r1, [sp, #56]   \n"
        "mov    r0, #0          \n"
        "str    r0, [r1], #4    \n"
        "9:                     \n"
        PAIRS
        "subs   r11, r11, #1    \n"
        "str    r0, [r1], #4    \n"
        "bne    9b              \n"
        "ldr    r12, [sp, #112] \n"
        "str    r1, [sp, #52]   \n"
        "ldr    r1, [sp]        \n"
        "ldmia  r12, {r8-r11}   \n"
        "ldmia  r2, {r2, r4-r7} \n"
        "add    r8, r8, r0      \n"
        "str    r8, [sp, #72]   \n"
        "mla    r6, r5, r6, r1  \n"
        "sub    r4, r4, #3      \n"
        "str    r4, [sp, #24]   \n"
        "strd   r5, r6, [sp, #28] \n"
        "strd   r9, r10, [sp, #36] \n"
        "strd   r11, r7, [sp, #44] \n");
    __asm__ volatile(
        "1:                     \n" /* a row */
        "ldrd   r4, r5, [sp, #52] \n"
        "ldr    r3, [r4], #4    \n"
        "str    r4, [sp, #52]   \n"
        "ldr    r9, [sp, #60]   \n"
        "uxth   r4, r3          \n"
        "lsr    r10, r3, #16    \n"
        "mla    r1, r4, r2, r1  \n"
        "add    r5, r5, r4, lsl #2 \n"
        "ldr    r7, [r5, r10, lsl #2] \n"
        "ldr    r6, [r5]        \n"
        "ldr    r8, [sp, #72]   \n"
        "sub    r6, r6, r7      \n"
        "add    r6, r6, r8      \n"
        PAIRS_BYTES("r5", "r4")
        "add    r11, r9, r5     \n"
        "strd   r10, r11, [sp, #16] \n"
        "strd   r6, r6, [sp, #64] \n"
        "ldr    r3, [sp, #24]   \n"
        "str    r1, [sp, #4]    \n"
        "cmp    r3, #0          \n"
        "blt    4f              \n"
        "str    r3, [sp, #8]    \n"
        "2:                     \n"
        "ldrd   r0, r3, [sp, #16] \n"
        "ldrd   r4, r5, [sp, #64] \n"
        "ldrd   r6, r7, [sp, #64] \n"
        "7:                     \n"
        FOUR
        "add    r1, r1, r2      \n"
        "bne    7b              \n"
        "ldrd   r8, r9, [sp, #36] \n"
        "ldrd   r10, lr, [sp, #44] \n"
        "ldr    r1, [sp, #4]    \n"
        "ldrd   r3, r0, [sp, #8] \n"
        REQUANTIZE("r4")
        REQUANTIZE("r5")
        REQUANTIZE("r6")
        REQUANTIZE("r7")
        "add    r1, r1, " TILE " \n"
        STORE
        "bmi    3f              \n"
        STORE_FOURTH("")
        "str    r1, [sp, #4]    \n"
        "strd   r3, r0, [sp, #8] \n"
        "b      2b              \n");
    __asm__ volatile(
        "3:                     \n"
        "adds   r3, r3, #3      \n"
        "it     ge              \n"
        STORE_FOURTH("ge")
        "ble    6f              \n"
        "str    r0, [sp, #12]   \n"
        "b      5f              \n"
        "4:                     \n"
        "adds   r3, r3, #3      \n"
        "5:                     \n" /* one or two outputs */
        "str    r3, [sp, #8]    \n"
        "ldrd   r0, r3, [sp, #16] \n"
        "ldrd   r4, r5, [sp, #64] \n"
        "8:                     \n"
        TWO
        "add    r1, r1, r2      \n"
        "bne    8b              \n"
        "ldrd   r8, r9, [sp, #36] \n"
        "ldrd   r10, lr, [sp, #44] \n"
        "ldrd   r3, r0, [sp, #8] \n"
        REQUANTIZE("r4")
        REQUANTIZE("r5")
        "strb   r4, [r0]        \n"
        "cmp    r3, #2          \n"
        "it     eq              \n"
        "strbeq r5, [r0, lr]    \n"
        "6:                     \n"
        "ldr    r1, [sp]        \n"
        "ldrd   r8, r9, [sp, #28] \n"
        "mla    r0, r3, lr, r0  \n" /* r3 is -1 where the last of four was one too many */
        "add    r1, r1, r8      \n"
        "str    r0, [sp, #12]   \n"
        "str    r1, [sp]        \n"
        "cmp    r1, r9          \n"
        "bne    1b              \n"
        "add    sp, sp, #76     \n"
        "pop    {r4-r11, pc}    \n");
}

#endif

#else

#define LEFT(channel) (RELU && TAPS == 3 ? (channel)[3] : 0)
#define RIGHT(channel) (TAPS == 3 ? 16 : (channel)[3])

static int32_t half(const uint32_t *words, int32_t index)
{
    return index % 2 ? nd_high(words[index / 2]) : nd_low(words[index / 2]);
}

static void plane_kernel(int8_t *out, const uint32_t *x, const nd_plane *plane, const int8_t *taps,
                         const int32_t *channel)
{
    for (int32_t row = 0; row < plane->height; row++, x += plane->row_step / 4) {
        for (int32_t column = 0; column < plane->width; column++, out += plane->step) {
            int32_t sum = 0;
            for (int32_t i = 0; i < plane->filter_height; i++)
                for (int32_t k = 0; k < TAPS; k++)
                    sum += half(x + i * (plane->tap_step / 4), column * STRIDE + k) * taps[i * TAPS + k];
            sum = sum * (1 << LEFT(channel)) + channel[0];
#if RELU
            *out = (int8_t)nd_saturate(((int32_t)((int64_t)sum * channel[1] >> 32) + channel[2]) >> RIGHT(channel));
#else
            *out = (int8_t)nd_requantize_fast(sum >> 8, channel[1], channel[2], channel[3]);
#endif
        }
    }
}

#endif

#endif

#endif
