/* Bytes clamped to [low, high], in place, four at a time. */
#include "nd_dsp.h"

/* The larger and the smaller of two words, byte by byte. */
static inline uint32_t clamp_word(uint32_t x, uint32_t low, uint32_t high)
{
#if ND_DSP
    uint32_t unused;
    __asm__("ssub8  %1, %0, %2\n\t" /* which bytes are at least low */
            "sel    %0, %0, %2\n\t"
            "ssub8  %1, %0, %3\n\t"
            "sel    %0, %3, %0"
            : "+r"(x), "=&r"(unused)
            : "r"(low), "r"(high));
    return x;
#else
    uint32_t result = 0;
    for (int32_t i = 0; i < 32; i += 8) {
        const int32_t byte = (int8_t)(x >> i & 0xFFu), least = (int8_t)(low & 0xFFu), most = (int8_t)(high & 0xFFu);
        result |= ((uint32_t)nd_clamp(byte, least, most) & 0xFFu) << i;
    }
    return result;
#endif
}

void nd_clamp_bytes(int8_t *bytes, int32_t count, int32_t low, int32_t high)
{
    const uint32_t lows = ((uint32_t)low & 0xFFu) * 0x01010101u, highs = ((uint32_t)high & 0xFFu) * 0x01010101u;
    ND_NO_UNROLL
    for (; count >= 4; count -= 4, bytes += 4)
        nd_store_word(bytes, clamp_word(nd_load_word(bytes), lows, highs));
    ND_NO_UNROLL
    for (; count > 0; count--, bytes++)
        *bytes = (int8_t)nd_clamp(*bytes, low, high);
}
