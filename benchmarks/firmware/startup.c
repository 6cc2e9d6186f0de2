/* From reset to main: copies .data, clears .bss, turns the FPU on. The linker script is firmware.ld. */
#include <stdint.h>

#include "markers.h"

extern uint32_t ndtool_data_load[], ndtool_data_start[], ndtool_data_end[];
extern uint32_t ndtool_bss_start[], ndtool_bss_end[], ndtool_stack_top[];

int main(void);
void ndtool_reset(void);
void ndtool_fault(void);

typedef union {
    const void *stack;
    void (*handler)(void);
} vector;

extern const vector ndtool_vectors[16];

#if defined(NDTOOL_BOARD)
/* Yours to define: clocks, flash wait states, caches. Without it the board runs as it comes out of reset. */
void ndtool_board_init(void);
__attribute__((weak, noinline)) void ndtool_board_init(void) { __asm__ volatile(""); }
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
    *(const vector *volatile *)0xE000ED08u = ndtool_vectors; /* VTOR: whatever ran before, exceptions come here */
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

#define FAULT {.handler = ndtool_fault}

__attribute__((used, section(".vectors"))) const vector ndtool_vectors[16] = {
    {.stack = ndtool_stack_top}, {.handler = ndtool_reset}, FAULT, FAULT, FAULT, FAULT, FAULT, FAULT,
    FAULT, FAULT, FAULT, FAULT, FAULT, FAULT, FAULT, {.handler = ndtool_systick},
};
