/* The code between a call of ndtool_start and one of ndtool_stop is what is measured. */
#include "markers.h"

#if defined(NDTOOL_SYSTICK) || defined(NDTOOL_BOARD)
/* Ticks between the markers, 0 where nothing counts; modulo 2^32. They are read here, not by the debugger: every stop of
 * the machine takes some. */
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

volatile uint32_t ndtool_ticks;

/* Where ndtool_ticks can be read. */
__attribute__((noinline)) void ndtool_stopped(void);
void ndtool_stopped(void) { __asm__ volatile(""); }

#if defined(NDTOOL_SYSTICK)
/* SysTick has 24 bits and counts down; the handler counts its rounds. */
#define CONTROL REGISTER(0xE000E010u)
#define RELOAD REGISTER(0xE000E014u)
#define VALUE REGISTER(0xE000E018u)
#define PENDING REGISTER(0xE000ED04u)

static volatile uint32_t rounds;

void ndtool_systick(void) { rounds++; }

static uint32_t restart(void)
{
    CONTROL = 0;
    RELOAD = 0x00FFFFFFu;
    VALUE = 0;
    PENDING = 1u << 25; /* clears an exception that waits */
    rounds = 0;
    CONTROL = 7; /* processor clock, interrupt, on */
    return 0;
}

static uint32_t now(void)
{
    uint32_t round, value;

    do { /* again where a round ends in between */
        round = rounds;
        value = VALUE;
    } while (round != rounds);
    return (round << 24) + (-value & 0x00FFFFFFu);
}

static void finish(void) { CONTROL = 0; }
#else
/* The cycle counter of the data watchpoint and trace unit, Armv7-M and later; it stays 0 where there is none. */
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CONTROL REGISTER(0xE0001000u)
#define DWT_CYCLES REGISTER(0xE0001004u)
#define DWT_UNLOCK REGISTER(0xE0001FB0u)

static uint32_t now(void) { return DWT_CYCLES; }

static uint32_t restart(void)
{
    DEMCR |= 1u << 24;        /* TRCENA: the unit is on */
    DWT_UNLOCK = 0xC5ACCE55u; /* of the Cortex-M7 */
    DWT_CONTROL |= 1;
    return now();
}

static void finish(void) {}
#endif

static uint32_t begin;

void ndtool_start(void) { begin = restart(); }

void ndtool_stop(void)
{
    const uint32_t end = now();

    finish();
    ndtool_ticks = end - begin;
    ndtool_stopped();
}
#else
void ndtool_start(void) { __asm__ volatile(""); }

void ndtool_stop(void) { __asm__ volatile(""); }
#endif
