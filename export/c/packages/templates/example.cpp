// @name@: the self-test, then one inference.
#include <Arduino.h>
#include <@name@.h>

static uint32_t arena[@NAME@_ARENA_WORDS]; // all working memory, input and output included

// Your data instead.
static void fill(int8_t *input, int size, int value)
{
    for (int i = 0; i < size; i++)
        input[i] = (int8_t)value;
}

// The first values.
static void show(const int8_t *output, int size)
{
    for (int i = 0; i < size && i < 16; i++) {
        Serial.print(output[i]);
        Serial.print(" ");
    }
    Serial.println();
}

void setup()
{
    Serial.begin(115200);
    while (!Serial && millis() < 3000) {
    }
    const int wrong = @name@_selftest(arena);
    if (wrong) {
        Serial.print("@name@: the self-test differs in inference ");
        Serial.println(wrong);
        return;
    }
    Serial.println("@name@: self-test passed");
@fill@
    const unsigned long start = micros();
    @name@_run(arena);
    const unsigned long time = micros() - start;
@show@
    Serial.print(time);
    Serial.println(" us");
}

void loop()
{
}
