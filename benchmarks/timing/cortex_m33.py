"""Cortex-M33. Source: measurements of jnk0le on RP2350 (github.com/jnk0le/random, pipeline cycle test)."""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import Rules

_FLOAT = {"vdiv": 14.0, "vsqrt": 14.0}


def issue(instruction: Instruction, _: Instruction | None) -> float:
    """One a cycle; LDM and STM N, LDRD 2; IT and NOP issue beside a narrow instruction."""
    if instruction.kind in (Kind.LOAD, Kind.STORE):
        return float(instruction.registers)
    if instruction.kind is Kind.FLOAT:
        return _FLOAT.get(instruction.name, 1.0)
    if instruction.kind is Kind.DIVIDE:
        return 6.0  # 2 to 11: by operands
    return 0.0 if instruction.name in ("it", "nop", "hint") else 1.0


def latency(instruction: Instruction, cycles: float) -> float:
    """Loads, multiplications, shifted operands and extending additions take one cycle more to be used."""
    slow = instruction.kind in (Kind.LOAD, Kind.MULTIPLY, Kind.MAC, Kind.FLOAT) or instruction.shifted
    extending_add = instruction.name in ("sxtab", "sxtah", "uxtab", "uxtah", "sxtab16", "uxtab16")
    return cycles + (1.0 if slow or extending_add else 0.0)


def early(instruction: Instruction, register: int) -> float:
    """Accumulators and the data of stores are needed one cycle later than other operands."""
    store_data = instruction.kind is Kind.STORE and register not in instruction.address_reads
    return -1.0 if store_data or register == instruction.accumulator else 0.0


def taken(_: Instruction) -> float:
    """A taken branch is 3 cycles in all."""
    return 2.0


RULES = Rules(issue=issue, latency=latency, early=early, taken=taken)
