// Arduino's core on a host: setup() once.
#include <Arduino.h>

#include <stdio.h>

Print Serial;

void Print::print(const char *text) { fputs(text, stdout); }
void Print::print(char value) { putchar(value); }
void Print::print(unsigned char value) { printf("%u", value); }
void Print::print(int value) { printf("%d", value); }
void Print::print(unsigned int value) { printf("%u", value); }
void Print::print(long value) { printf("%ld", value); }
void Print::print(unsigned long value) { printf("%lu", value); }
void Print::println() { puts(""); }
void Print::begin(unsigned long) {}
Print::operator bool() const { return true; }

unsigned long millis() { return 0; }
unsigned long micros() { return 0; }

int main()
{
    setup();
    loop();
}
