// Stand-in for Arduino's core: the overloads of Print that its boards have.
#pragma once
#include <stdint.h>

class Print
{
public:
    void print(const char *text);
    void print(char value);
    void print(unsigned char value);
    void print(int value);
    void print(unsigned int value);
    void print(long value);
    void print(unsigned long value);
    void println();
    template <class T> void println(T value)
    {
        print(value);
        println();
    }
    void begin(unsigned long baud);
    explicit operator bool() const;
};

extern Print Serial;

unsigned long millis();
unsigned long micros();
void setup();
void loop();
