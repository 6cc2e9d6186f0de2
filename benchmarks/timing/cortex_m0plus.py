"""Cortex-M0+. Source: Arm DDI 0484 (Cortex-M0+ TRM), table 3-1, with the single-cycle multiplier."""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import Result, Rules


def issue(instruction: Instruction, _: Instruction | None) -> float:
    """Loads and stores 2, of several registers 1 + N, everything else 1."""
    if instruction.kind in (Kind.LOAD, Kind.STORE):
        return 2.0 if instruction.name.startswith(("ldr", "str")) else 1.0 + instruction.registers
    return 1.0


def wait(_: Result, __: Instruction, ___: int) -> float:
    """Results are there for the next instruction."""
    return 1.0


def taken(branch: Instruction, _: Instruction | None, __: Instruction) -> float:
    """A taken branch is 2 cycles, BL 3, POP with PC 3 + N."""
    if branch.kind is Kind.LOAD:
        return 2.0
    return 2.0 if branch.name == "bl" else 1.0


RULES = Rules(issue=issue, wait=wait, taken=taken)
