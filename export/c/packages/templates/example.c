/* @name@: the self-test, then one inference. */
#include "@name@.h"

#include <stdio.h>

static uint32_t arena[@NAME@_ARENA_WORDS]; /* all working memory, input and output included */

/* Your data instead. */
static void fill(int8_t *input, int size, int value)
{
    for (int i = 0; i < size; i++)
        input[i] = (int8_t)value;
}

/* The first values. */
static void show(const int8_t *output, int size)
{
    for (int i = 0; i < size && i < 16; i++)
        printf("%d ", output[i]);
    printf("\n");
}

static int example(void)
{
    const int wrong = @name@_selftest(arena);

    if (wrong) {
        printf("@name@: inference %d of the self-test differs\n", wrong);
        return 1;
    }
    printf("@name@: self-test passed\n");
@fill@
    @name@_run(arena);
@show@
    return 0;
}

@entry@
