/* Bytes of four pixels become the column of nd_thumb_tile: for each byte two words, pixels 0 and 1, then 2 and 3, each
 * first + (second << 16). There is at least one. */
#include "nd_narrow.h"

#if ND_THUMB

__attribute__((naked)) void nd_thumb_pack(__attribute__((unused)) uint32_t *to,
                                          __attribute__((unused)) const int8_t *const rows[4],
                                          __attribute__((unused)) int32_t bytes)
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r7}\n"
        "ldm r1!, {r3-r6}\n"
        "adds r3, r3, r2\n"
        "adds r4, r4, r2\n"
        "adds r5, r5, r2\n"
        "adds r6, r6, r2\n"
        "rsbs r1, r2, #0\n"
        "1:\n"
        "ldrsb r2, [r3, r1]\n"
        "ldrsb r7, [r4, r1]\n"
        "lsls r7, r7, #16\n"
        "adds r2, r2, r7\n"
        "stm r0!, {r2}\n"
        "ldrsb r2, [r5, r1]\n"
        "ldrsb r7, [r6, r1]\n"
        "lsls r7, r7, #16\n"
        "adds r2, r2, r7\n"
        "stm r0!, {r2}\n"
        "adds r1, r1, #1\n"
        "bne 1b\n"
        "pop {r4-r7}\n"
        "bx lr\n");
}

#else

void nd_thumb_pack(uint32_t *to, const int8_t *const rows[4], int32_t bytes)
{
    for (int32_t i = 0; i < bytes; i++, to += 2) {
        to[0] = (uint32_t)rows[0][i] + ((uint32_t)rows[1][i] << 16);
        to[1] = (uint32_t)rows[2][i] + ((uint32_t)rows[3][i] << 16);
    }
}

#endif
