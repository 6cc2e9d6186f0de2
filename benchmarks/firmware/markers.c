/* The code between a call of ndtool_start and one of ndtool_stop is what is measured. */
#include "markers.h"

#if defined(NDTOOL_SYSTICK)
/* Under QEMU's -icount SysTick is a clock of instructions. It is read here, not by the debugger: every stop of the
 * machine lets some virtual time pass. */
#include <stdint.h>

extern volatile uint32_t ndtool_rounds;
volatile uint32_t ndtool_clock[4]; /* rounds and value at the start, rounds and value at the stop */

__attribute__((noinline)) void ndtool_stopped(void);
void ndtool_stopped(void) { __asm__ volatile(""); }

static void read_clock(volatile uint32_t *to)
{
    to[1] = *(volatile uint32_t *)0xE000E018u;
    to[0] = ndtool_rounds;
}

void ndtool_start(void) { read_clock(&ndtool_clock[0]); }

void ndtool_stop(void)
{
    read_clock(&ndtool_clock[2]);
    ndtool_stopped();
}
#else
void ndtool_start(void) { __asm__ volatile(""); }

void ndtool_stop(void) { __asm__ volatile(""); }
#endif
