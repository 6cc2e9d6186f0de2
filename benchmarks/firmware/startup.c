/* From reset to main: copies .data, clears .bss, turns the FPU on. The linker script is firmware.ld. */
#include <stdint.h>

#include "markers.h"

extern uint32_t ndtool_data_load[], ndtool_data_start[], ndtool_data_end[];
extern uint32_t ndtool_bss_start[], ndtool_bss_end[], ndtool_stack_top[];

int main(void);
void ndtool_reset(void);
void ndtool_fault(void);

#if defined(NDTOOL_BOARD)
/* Yours to define: clocks, flash wait states, caches. Without it the board runs as it comes out of reset. */
void ndtool_board_init(void);
__attribute__((weak, noinline)) void ndtool_board_init(void) { __asm__ volatile(""); }

extern const void *const ndtool_vectors[16];
#endif

void ndtool_reset(void)
{
    const uint32_t *from = ndtool_data_load;

    for (volatile uint32_t *to = ndtool_data_start; to < ndtool_data_end; to++) {
        *to = *from++;
    }
    for (volatile uint32_t *to = ndtool_bss_start; to < ndtool_bss_end; to++) {
        *to = 0;
    }
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to CP10 and CP11 */
    __asm__ volatile("dsb\n\tisb");
#endif
#if defined(NDTOOL_BOARD)
    *(volatile const void **)0xE000ED08u = ndtool_vectors; /* VTOR: whatever ran before, exceptions come here */
    ndtool_board_init();
#endif
    main();
    for (;;) {
    }
}

#if !defined(NDTOOL_SYSTICK)
#define ndtool_systick ndtool_fault
#endif

/* Every other exception ends here, where the emulator or the debugger sees it. */
void ndtool_fault(void)
{
    for (;;) {
    }
}

#define FAULT (const void *)ndtool_fault

__attribute__((used, section(".vectors"))) const void *const ndtool_vectors[16] = {
    ndtool_stack_top, (const void *)ndtool_reset, FAULT, FAULT, FAULT, FAULT, FAULT, FAULT,
    FAULT, FAULT, FAULT, FAULT, FAULT, FAULT, FAULT, (const void *)ndtool_systick,
};
