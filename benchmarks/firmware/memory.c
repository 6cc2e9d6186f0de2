/* memcpy, memmove and memset: by words where both ends allow it. Compiled with -fno-builtin. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);

/* An access of any alignment is one instruction on cores that have it; these types tell the compiler. */
typedef uint32_t word __attribute__((may_alias));
#if defined(__ARM_FEATURE_UNALIGNED)
typedef uint32_t loose_word __attribute__((may_alias, aligned(1)));
#define WORDWISE(a, b) ((void)(a), (void)(b), 1)
#else
typedef word loose_word;
#define WORDWISE(a, b) ((((uintptr_t)(a) | (uintptr_t)(b)) & 3u) == 0)
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;

    if (WORDWISE(d, s)) {
        for (; count >= 16; count -= 16, d += 16, s += 16) {
            const uint32_t a = ((const loose_word *)s)[0], b = ((const loose_word *)s)[1];
            const uint32_t c = ((const loose_word *)s)[2], e = ((const loose_word *)s)[3];

            ((loose_word *)d)[0] = a;
            ((loose_word *)d)[1] = b;
            ((loose_word *)d)[2] = c;
            ((loose_word *)d)[3] = e;
        }
        for (; count >= 4; count -= 4, d += 4, s += 4) {
            *(loose_word *)d = *(const loose_word *)s;
        }
    }
    while (count--) {
        *d++ = *s++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;

    if (d <= s) {
        while (count--) {
            *d++ = *s++;
        }
    } else {
        while (count--) {
            d[count] = s[count];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *d = to;
    const uint32_t pattern = (uint8_t)value * 0x01010101u;

    for (; count && ((uintptr_t)d & 3u); count--) {
        *d++ = (uint8_t)value;
    }
    for (; count >= 16; count -= 16, d += 16) {
        ((word *)d)[0] = pattern;
        ((word *)d)[1] = pattern;
        ((word *)d)[2] = pattern;
        ((word *)d)[3] = pattern;
    }
    for (; count >= 4; count -= 4, d += 4) {
        *(word *)d = pattern;
    }
    while (count--) {
        *d++ = (uint8_t)value;
    }
    return to;
}
