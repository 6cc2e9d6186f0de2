"""Cortex-M7, dual issue, in order.

Sources: measurements of jnk0le on STM32H743 (github.com/jnk0le/random, pipeline cycle test, cortex_m7.md), LLVM's
ARMScheduleM7.td, GCC's cortex-m7.md. Two loads issue together only where they are seen to use different banks.
"""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import CPSR, Rules

MISPREDICT = 8.0
_FLOAT = {"vdiv": 16.0, "vsqrt": 14.0}
_MULTIPLY = (Kind.MULTIPLY, Kind.MAC)
_ONE_PIPE = (Kind.EXTEND, Kind.SIMD)  # older slot only
_MEMORY = (Kind.LOAD, Kind.STORE)
_SIMPLE = ("add", "addw", "sub", "subw", "mov", "movw", "movt", "mvn")


def issue(instruction: Instruction, _: Instruction | None) -> float:
    """One cycle, two instructions; multiple loads and stores two registers a cycle, division blocks."""
    if instruction.kind in _MEMORY:
        return float((instruction.registers + 1) // 2)
    if instruction.kind is Kind.DIVIDE:
        return 7.0
    if instruction.kind is Kind.FLOAT:
        return _FLOAT.get(instruction.name, 1.0)
    return 1.0


def latency(instruction: Instruction, cycles: float) -> float:
    """From issue to a late ALU operation: simple additions and moves feed one in the same cycle."""
    if instruction.kind is Kind.ALU and instruction.name in _SIMPLE and not instruction.shifted:
        return 0.0
    if instruction.kind is Kind.SHIFT:
        return 0.0
    if instruction.kind is Kind.LOAD:
        narrow = instruction.name.startswith(("ldrb", "ldrh", "ldrsb", "ldrsh"))
        return 1.0 + (1.0 if narrow else 0.0) + (cycles - 1.0)
    if instruction.kind in (*_MULTIPLY, Kind.SIMD):
        return 2.0
    if instruction.kind is Kind.FLOAT:
        return max(3.0, cycles)
    return cycles


def early(instruction: Instruction, register: int) -> float:
    """Addresses, shifted and extended operands are needed a stage early; accumulators and store data later."""
    if register in instruction.address_reads:
        return 1.0
    if instruction.kind is Kind.STORE or register == instruction.accumulator:
        return -1.0
    if register == CPSR:
        return 0.0
    return 1.0 if instruction.kind is Kind.EXTEND or instruction.shifted else 0.0


def pairs(older: Instruction, younger: Instruction) -> bool:
    """What cannot issue together; dependencies are looked at elsewhere."""
    kinds = (older.kind, younger.kind)
    if Kind.DIVIDE in kinds or Kind.OTHER in kinds or older.registers > 1 or younger.registers > 1:
        return False
    if older.kind in _MULTIPLY and younger.kind in (*_MULTIPLY, Kind.STORE):
        return False
    if older.kind is Kind.STORE and younger.kind in (*_MULTIPLY, Kind.STORE):
        return False
    if kinds == (Kind.LOAD, Kind.LOAD) and not _different_banks(older, younger):
        return False
    if younger.kind in _ONE_PIPE:
        return False  # older slot only
    if older.kind is Kind.BRANCH:
        return False
    if all(instruction.shifted or instruction.kind is Kind.SHIFT for instruction in (older, younger)):
        return older.kind is Kind.SHIFT and younger.kind is Kind.SHIFT
    if older.kind in _ONE_PIPE and younger.shifted:
        return False
    return not (older.kind is Kind.FLOAT and younger.kind is Kind.FLOAT)


def _different_banks(a: Instruction, b: Instruction) -> bool:
    """Loads at one base whose displacements are an odd number of words apart: an even and an odd word."""
    if a.displacement is None or b.displacement is None or a.address_reads != b.address_reads:
        return False
    return (a.displacement // 4 - b.displacement // 4) % 2 == 1


def taken(_: Instruction) -> float:
    """A predicted taken branch costs nothing of its own."""
    return 0.0


RULES = Rules(issue=issue, latency=latency, early=early, pairs=pairs, taken=taken, mispredict=MISPREDICT)
