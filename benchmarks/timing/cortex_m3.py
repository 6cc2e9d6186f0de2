"""Cortex-M3: the Cortex-M4's pipeline with a slower multiplier and without DSP extension and FPU.

Sources: Arm DDI 0337 (Cortex-M3 TRM), table 3-1; jnk0le's measurements on STM32F103 (cortex_m3m4.md).
"""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing import cortex_m4
from ndtool.benchmarks.timing.pipeline import Result, Rules

# More than on a Cortex-M4. Long products end early by the size of their operands (3 to 5 cycles, 4 to 7 with an
# addition, the signed one slower): fixed-point multipliers have 31 bits, so the longest.
_LONGER = {"mla": 1.0, "mls": 1.0, "umull": 3.0, "smull": 4.0, "umlal": 5.0, "smlal": 6.0}


def issue(instruction: Instruction, previous: Instruction | None) -> float:
    """MLA 2, SMULL 5, SMLAL 7; what updates its base is not pipelined behind a load; else as a Cortex-M4."""
    cycles = cortex_m4.issue(instruction, previous) + _LONGER.get(instruction.name, 0.0)
    behind_load = previous is not None and previous.kind is Kind.LOAD
    return max(cycles, 2.0) if behind_load and _updates_base(instruction) else cycles


def _updates_base(instruction: Instruction) -> bool:
    """Whether a load or store of one register writes another one besides."""
    loaded = 1 if instruction.kind is Kind.LOAD else 0
    is_memory = instruction.kind in (Kind.LOAD, Kind.STORE) and instruction.registers == 1
    return is_memory and len(instruction.writes) > loaded


def wait(result: Result, user: Instruction, register: int) -> float:
    """Results are there for the next instruction; one cycle later for addresses."""
    return cortex_m4.wait(result, user, register) + _LONGER.get(result.by.name, 0.0)


RULES = Rules(issue=issue, wait=wait, taken=cortex_m4.taken)
