"""Cortex-M4. Source: Arm 100166 (Cortex-M4 TRM), table 3-1, with a pipeline refill of P = 2 for taken branches."""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import Rules

REFILL = 2.0  # P: 1 to 3 in the manual
_CYCLES = {Kind.DIVIDE: 7.0}  # 2 to 12: by operands
_FLOAT = {"vdiv": 14.0, "vsqrt": 14.0, "vmla": 3.0, "vmls": 3.0, "vfma": 3.0, "vfms": 3.0}


def issue(instruction: Instruction, previous: Instruction | None) -> float:
    """LDR 2, or 1 after another LDR; LDM and STM 1 + N; STR 1; IT folds into the instruction before."""
    if instruction.kind in (Kind.LOAD, Kind.STORE):
        if instruction.registers > 1:
            return 1.0 + instruction.registers
        behind_load = previous is not None and previous.kind is Kind.LOAD
        if instruction.kind is Kind.STORE:
            return 2.0 if instruction.indexed and not behind_load else 1.0
        independent = previous is not None and not (previous.writes & instruction.address_reads)
        return 1.0 if behind_load and independent else 2.0
    if instruction.kind is Kind.FLOAT:
        return _FLOAT.get(instruction.name, 1.0)
    if instruction.name == "it":
        return 0.0
    return _CYCLES.get(instruction.kind, 1.0)


def latency(instruction: Instruction, cycles: float) -> float:
    """Results are ready for the next instruction; arithmetic in floating point takes one more cycle."""
    return cycles + (1.0 if instruction.kind is Kind.FLOAT else 0.0)


def early(instruction: Instruction, register: int) -> float:
    """An address cannot use the result of the instruction just before without a cycle of waiting."""
    return 1.0 if register in instruction.address_reads else 0.0


def taken(branch: Instruction) -> float:
    """The refill; table branches and loads of PC take longer."""
    if branch.name in ("tbb", "tbh"):
        return REFILL + 3.0
    return REFILL + (1.0 if branch.kind is Kind.LOAD else 0.0)


RULES = Rules(issue=issue, latency=latency, early=early, taken=taken)
