"""Cortex-M4. Sources: Arm 100166 (Cortex-M4 TRM), table 3-1; jnk0le's measurements on STM32F407 (cortex_m3m4.md)."""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import Result, Rules

REFILL = 2.0  # P: 1 to 3 in the manual
_DIVIDE = 7.0  # 2 to 12: by operands
_MULTIPLE = ("vldm", "vstm", "vpush", "vpop")  # so also of one register
_FLOAT = {"vdiv": 14.0, "vsqrt": 14.0, "vmla": 3.0, "vmls": 3.0, "vfma": 3.0, "vfms": 3.0}


def issue(instruction: Instruction, previous: Instruction | None) -> float:
    """LDR 2, or 1 right after another LDR; LDM, STM, VLDM and VSTM 1 + N; STR 1, 2 with a register offset; IT folds.

    A 32-bit instruction across a word's end, right behind a load, takes one cycle more: it is not fetched in time.
    """
    behind_load = previous is not None and previous.kind is Kind.LOAD and not _is_multiple(previous)
    late = 1.0 if previous is not None and previous.kind is Kind.LOAD and _crosses(instruction) else 0.0
    if _is_multiple(instruction):
        return late + 1.0 + instruction.registers
    if instruction.kind is Kind.LOAD:
        loaded = previous.writes - previous.address_reads if previous else frozenset()
        return late + (1.0 if behind_load and not loaded & instruction.address_reads else 2.0)
    if instruction.kind is Kind.STORE:
        return late + (2.0 if instruction.indexed and not behind_load else 1.0)
    if instruction.kind is Kind.DIVIDE:
        return late + _DIVIDE
    if instruction.kind is Kind.FLOAT:
        return late + _FLOAT.get(instruction.name, 1.0)
    return 0.0 if instruction.name == "it" else late + 1.0


def _is_multiple(instruction: Instruction) -> bool:
    return instruction.registers > 1 or instruction.name.startswith(_MULTIPLE)


def _crosses(instruction: Instruction) -> bool:
    return instruction.bytes == 4 and bool(instruction.address & 2)


def wait(result: Result, user: Instruction, register: int) -> float:
    """Results are there for the next instruction; one cycle later for addresses and after floating-point arithmetic."""
    if result.by.kind in (Kind.LOAD, Kind.STORE):
        return 1.0
    cycles = issue(result.by, None)
    return cycles + (1.0 if register in user.address_reads or result.by.kind is Kind.FLOAT else 0.0)


def taken(branch: Instruction, _: Instruction | None, target: Instruction) -> float:
    """The refill; table branches and loads of PC take longer, and a target across a word's end needs two fetches."""
    crossing = 1.0 if _crosses(target) else 0.0
    if branch.name in ("tbb", "tbh"):
        return crossing + REFILL + 3.0
    return crossing + REFILL + (1.0 if branch.kind is Kind.LOAD else 0.0)


RULES = Rules(issue=issue, wait=wait, taken=taken)
