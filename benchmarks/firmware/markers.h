#ifndef NDTOOL_MARKERS_H
#define NDTOOL_MARKERS_H

/* What counts between the markers. Emulated: nothing, they are empty. On a board (NDTOOL_BOARD): cycles, by the core's
 * own counter (DWT), or by SysTick where there is none (Armv6-M). Under QEMU's -icount (NDTOOL_SYSTICK): SysTick. */
#if defined(NDTOOL_BOARD) && __ARM_ARCH_ISA_THUMB == 1 && !defined(NDTOOL_SYSTICK)
#define NDTOOL_SYSTICK
#endif

__attribute__((noinline)) void ndtool_start(void);
__attribute__((noinline)) void ndtool_stop(void);

#if defined(NDTOOL_SYSTICK)
/* The handler of the SysTick exception while an inference is timed. */
void ndtool_systick(void);
#endif

#endif
