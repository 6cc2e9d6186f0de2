/* The vector table: newlib's start-up code sets the rest up. */
extern char stack_top[];
void _start(void);

__attribute__((section(".vectors"), used)) static const struct {
    char *stack;
    void (*reset)(void);
} vectors = {stack_top, _start};
