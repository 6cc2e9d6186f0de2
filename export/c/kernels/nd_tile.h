/* nd_tile.h: how the tiles in assembly make outputs of the sums of four pixels by a pair of channels: r2 to r5 are those of
 * the pair's second channel, r6 to r9 of its first, r1 points behind the first channel's words. */
#ifndef ND_TILE_H
#define ND_TILE_H

/* nd_output_twice of a pair, not exact and exact: twice the bias r0, multiplier r10, rounding r11, shift lr. */
#define SHORT                      \
    "smmlar \\sum, \\sum, r10, r11 \n" \
    "asr    \\sum, \\sum, lr \n"   \
    "ssat   \\sum, #8, \\sum \n"
#define EXACT                      \
    "smmlar r12, \\sum, r10, r11 \n" \
    "add    r12, r12, \\sum, asr #31 \n" \
    "asr    r12, r12, lr    \n"    \
    "ssat   \\sum, #8, r12  \n"
#define ALL(requantize)                \
    ".irp   sum, r6, r7, r8, r9 \n"    \
    "add    \\sum, r0, \\sum, lsl #1 \n" \
    requantize                         \
    ".endr                  \n"        \
    "ldm    r1!, {r0, r10, r11, lr} \n" \
    ".irp   sum, r2, r3, r4, r5 \n"    \
    "add    \\sum, r0, \\sum, asr #7 \n" \
    requantize                         \
    ".endr                  \n"

#endif
