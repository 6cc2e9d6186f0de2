/* Stand-in where there is no libc: what examples print with. */
#pragma once

int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
