/* output = max(input1, input2), or min where flip is -1 (min(a, b) = ~max(~a, ~b)), broadcast, on the raw int8.
 * Element by element, or by words: the output may take the place of an input of its own size. */
#include "nd_dsp.h"
#include "nd_words.h"

static ND_NOINLINE void extremum_row(int8_t *output, const int8_t *a, const int8_t *b, int32_t flip,
                                     const nd_broadcast *s)
{
    int32_t count = s->size[3];

    if (ND_WORDS && s->step1[3] == 1 && s->step2[3] == 1) {
        const uint32_t mask = (uint32_t)flip;
        ND_NO_UNROLL
        for (; count >= 4; count -= 4, output += 4, a += 4, b += 4)
            nd_store_word(output, nd_max_bytes(nd_load_word(a) ^ mask, nd_load_word(b) ^ mask) ^ mask);
    }
    ND_NO_UNROLL
    for (; count > 0; count--, a += s->step1[3], b += s->step2[3])
        *output++ = (int8_t)(nd_max(*a ^ flip, *b ^ flip) ^ flip);
}

void nd_extremum(int8_t *output, const int8_t *input1, const int8_t *input2, int32_t flip, const nd_broadcast *s)
{
    for (int32_t i = 0; i < s->size[0]; i++) {
        for (int32_t j = 0; j < s->size[1]; j++) {
            for (int32_t k = 0; k < s->size[2]; k++) {
                extremum_row(output, input1 + i * s->step1[0] + j * s->step1[1] + k * s->step1[2],
                             input2 + i * s->step2[0] + j * s->step2[1] + k * s->step2[2], flip, s);
                output += s->size[3];
            }
        }
    }
}
