/* Bytes clamped to [low, high], in place. */
#include "nd_dsp.h"
#include "nd_words.h"

void nd_clamp_bytes(int8_t *bytes, int32_t count, int32_t low, int32_t high)
{
    if (low <= -128 && high >= 127)
        return;
    if (ND_WORDS) {
        const uint32_t lows = nd_word(low, low, low, low), highs = nd_word(high, high, high, high);
        ND_NO_UNROLL
        for (; count >= 4; count -= 4, bytes += 4)
            nd_store_word(bytes, nd_min_bytes(nd_max_bytes(nd_load_word(bytes), lows), highs));
    }
    ND_NO_UNROLL
    for (; count > 0; count--, bytes++)
        *bytes = (int8_t)nd_clamp(*bytes, low, high);
}
