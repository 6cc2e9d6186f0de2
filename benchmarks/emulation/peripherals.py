"""Peripherals for firmware that is made for a board: plain memory whose registers change while they are polled."""

from typing import Any

_SPACE = (0x40000000, 0x20000000)
_PRIVATE = (0xE0000000, 0x100000)  # mapped by the emulator
_PATIENCE = 4  # reads of a register by one instruction before it begins to change


class Peripherals:
    """Registers keep what is written, so that settings can be read back; a loop that waits for a flag sees it come."""

    def __init__(self, uc: Any):
        """Map the peripheral space of a Unicorn machine and watch the reads from it."""
        import unicorn
        from unicorn import arm_const

        self._pc = arm_const.UC_ARM_REG_PC
        self._reads: dict[tuple[int, int], int] = {}
        uc.mem_map(*_SPACE)
        for start, size in (_SPACE, _PRIVATE):
            uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, begin=start, end=start + size - 1)

    def _read(self, uc: Any, _: int, address: int, size: int, __: int, ___: Any) -> None:
        key = (uc.reg_read(self._pc), address)
        times = self._reads[key] = self._reads.get(key, 0) + 1
        if times > _PATIENCE:
            noise = times * 0x9E3779B97F4A7C15 >> 20 & 0xFFFFFFFF  # every field of bits takes every value in the end
            uc.mem_write(address, noise.to_bytes(4, "little")[:size])
        leave_it(uc)


def leave_it(uc: Any) -> None:
    """To be called in a hook of memory accesses: one within an If-Then block leaves Unicorn with that block's state."""
    from unicorn import arm_const

    status = uc.reg_read(arm_const.UC_ARM_REG_CPSR)
    if status & 0x0600FC00:
        uc.reg_write(arm_const.UC_ARM_REG_CPSR, status & ~0x0600FC00)
