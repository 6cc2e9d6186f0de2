/* From reset to main: copies .data, clears .bss, turns the FPU on. The linker script is firmware.ld. */
#include <stdint.h>

extern uint32_t ndtool_data_load[], ndtool_data_start[], ndtool_data_end[];
extern uint32_t ndtool_bss_start[], ndtool_bss_end[], ndtool_stack_top[];

int main(void);
void ndtool_reset(void);
void ndtool_fault(void);

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
#if defined(NDTOOL_SYSTICK)
    *(volatile uint32_t *)0xE000E014u = 0x00FFFFFFu; /* reload: 24 bits */
    *(volatile uint32_t *)0xE000E018u = 0;
    *(volatile uint32_t *)0xE000E010u = 7; /* processor clock, interrupt, on */
#endif
    main();
    for (;;) {
    }
}

#if defined(NDTOOL_SYSTICK)
/* Under QEMU's -icount SysTick is a clock of instructions; this counts its rounds. */
void ndtool_systick(void);
volatile uint32_t ndtool_rounds;

void ndtool_systick(void) { ndtool_rounds++; }
#else
#define ndtool_systick ndtool_fault
#endif

/* Every other exception ends here, where the emulator sees it. */
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
