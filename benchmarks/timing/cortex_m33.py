"""Cortex-M33. Source: jnk0le on RP2350 (github.com/jnk0le/random, pipeline cycle test, cortex_m33.md)."""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import CPSR, Result, Rules

_FLOAT = {"vdiv": 14.0, "vsqrt": 14.0}
_FUSED = {"vfma", "vfms", "vmla", "vmls"}
_EXTENDING_ADD = {"sxtab", "sxtah", "uxtab", "uxtah", "sxtab16", "uxtab16"}
_DSP = {"pkhbt", "pkhtb"}


def issue(instruction: Instruction, previous: Instruction | None) -> float:
    """One a cycle; LDM and STM N, LDRD 2; IT, NOP and branches issue beside a narrow instruction."""
    if instruction.kind in (Kind.LOAD, Kind.STORE):
        return float(instruction.registers)
    if instruction.kind is Kind.FLOAT:
        return 3.0 if instruction.name in _FUSED else _FLOAT.get(instruction.name, 1.0)
    if instruction.kind is Kind.DIVIDE:
        return 6.0  # 2 to 11: by operands
    if instruction.name in ("it", "nop", "hint"):
        return 0.0
    narrow = instruction.bytes == 2 and previous is not None and previous.bytes == 2
    return 0.0 if instruction.kind is Kind.BRANCH and narrow else 1.0


def wait(result: Result, user: Instruction, register: int) -> float:
    """Two stages for loads, multiplications, shifted operands and DSP; one less for accumulators and stores."""
    maker = result.by
    if maker.kind in (Kind.LOAD, Kind.STORE) and register in maker.address_reads:
        return 1.0
    chains = register == user.accumulator or (user.name in _EXTENDING_ADD and register not in user.shifted_reads)
    stores = user.kind is Kind.STORE and register not in user.address_reads
    if maker.kind is Kind.LOAD:
        last = float(maker.registers)
        return last + (0.0 if register == user.accumulator or stores or user.kind is Kind.FLOAT else 1.0)
    if maker.kind is Kind.FLOAT:
        return (3.0 if register in user.writes else 4.0) if maker.name in _FUSED else max(2.0, issue(maker, None))
    two = maker.kind in (Kind.MULTIPLY, Kind.MAC, Kind.SIMD) or maker.name in _DSP or maker.name in _EXTENDING_ADD
    two = two or bool(maker.shifted_reads and maker.kind is Kind.ALU)
    if maker.kind is Kind.DIVIDE:
        return issue(maker, None)
    if not two or (register == CPSR and not maker.shifted_reads):
        return 1.0
    chained = maker.kind is not Kind.SIMD and maker.name not in _DSP and (chains or stores)
    return 1.0 if chained else 2.0


def taken(_: Instruction, __: Instruction | None, ___: Instruction) -> float:
    """One cycle more than a branch that is not taken."""
    return 1.0


RULES = Rules(issue=issue, wait=wait, taken=taken)
