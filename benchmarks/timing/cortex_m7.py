"""Cortex-M7, dual issue, in order.

Sources: measurements of jnk0le on STM32H743 (github.com/jnk0le/random, pipeline cycle test, cortex_m7.md), LLVM's
ARMScheduleM7.td, GCC's cortex-m7.md. An early and a late ALU are one stage apart; t is the cycle of issue.
"""

from ndtool.benchmarks.instructions import Instruction, Kind
from ndtool.benchmarks.timing.pipeline import CPSR, Result, Rules

MISPREDICT = 8.0  # 6 where the flags were set three cycles before
_MULTIPLY = (Kind.MULTIPLY, Kind.MAC)
_MEMORY = (Kind.LOAD, Kind.STORE)
_EARLY_ALU = {"add", "addw", "sub", "subw", "mov", "movw", "movt", "mvn"}  # as the older of a pair
_EARLY_SOURCES = {"sbfx", "ubfx", "rbit", "rev", "rev16", "revsh"}  # all operands are needed early
_SHIFTER = _EARLY_SOURCES | {"bfi", "bfc", "pkhbt", "pkhtb"}
_SHIFTER |= {"sxtab", "sxtah", "uxtab", "uxtah", "sxtab16", "uxtab16"}
_NARROW = ("ldrb", "ldrh", "ldrsb", "ldrsh")
_FLOAT_ISSUE = {"vdiv": 16.0, "vsqrt": 14.0}
_ROUNDED = {"vmla", "vmls", "vnmla", "vnmls"}  # the product too
_FUSED = {"vfma", "vfms", "vfnma", "vfnms"} | _ROUNDED
_MULTIPLE = ("vldm", "vstm", "vpush", "vpop")
_SINGLE = ("vldr", "vstr", "vmov")


def issue(instruction: Instruction, _: Instruction | None) -> float:
    """One cycle for one or two; multiple loads and stores two registers a cycle; division blocks."""
    if instruction.kind in _MEMORY:
        return float((instruction.registers + 1) // 2)
    if instruction.kind is Kind.DIVIDE:
        return 7.0
    return _FLOAT_ISSUE.get(instruction.name, 1.0)


def wait(result: Result, user: Instruction, register: int) -> float:
    """From a result to its use by the late ALU; one more for the early stage, less for stores and accumulators."""
    use = _use(user, register)
    maker = result.by
    if maker.kind is Kind.FLOAT or user.kind is Kind.FLOAT:
        return _float_wait(maker, user, register)
    if use == STORE_DATA:
        return 0.0
    if maker.kind is Kind.LOAD:
        if register in maker.address_reads:  # the updated base
            return 1.0
        late = 2.0 if maker.name in _NARROW else 1.0
        if maker.registers > 1:
            late += issue(maker, None) - 1.0
        return late + (1.0 if use in (EARLY, MULTIPLICAND) else -1.0 if use == ACCUMULATOR else 0.0)
    if maker.kind is Kind.STORE:
        return 1.0
    late = 2.0 if maker.kind in _MULTIPLY else 7.0 if maker.kind is Kind.DIVIDE else 2.0 if _saturates(maker) else 1.0
    if result.swift:
        late = 0.0 if register != CPSR else 1.0
    if use == ACCUMULATOR:
        return max(late - 1.0, 0.0)
    return late + (1.0 if use == EARLY else 0.0)


EARLY, LATE, MULTIPLICAND, ACCUMULATOR, STORE_DATA = range(5)


def _use(user: Instruction, register: int) -> int:
    """Where in the pipeline a register is needed."""
    if register in user.address_reads:
        return EARLY
    if user.kind is Kind.STORE:
        return STORE_DATA
    if user.kind in _MULTIPLY:
        return ACCUMULATOR if register == user.accumulator else MULTIPLICAND
    if user.name in _EARLY_SOURCES or register in user.shifted_reads:
        return EARLY
    return LATE


def _saturates(maker: Instruction) -> bool:
    return maker.name in ("qadd", "qsub", "qdadd", "qdsub", "ssat", "usat", "ssat16", "usat16")


def _float_wait(maker: Instruction, user: Instruction, register: int) -> float:
    """The table of cortex_m7.md, "fpu (single precision)"."""
    if user.name in _FUSED and register in user.writes:
        return 2.0 if user.name in _ROUNDED and maker.name not in _ROUNDED else 3.0
    if maker.name in _FUSED:
        slower = 1.0 if maker.name in _ROUNDED else 0.0
        return slower + (3.0 if user.kind is Kind.STORE else 5.0)
    if maker.kind is Kind.LOAD or user.kind is Kind.STORE:
        return 1.0
    if maker.name == "vmov":
        return 3.0
    return issue(maker, None) if maker.name in _FLOAT_ISSUE else 3.0


def locks(instruction: Instruction) -> bool:
    """Multiply-accumulates in floating point keep others away."""
    return instruction.name in _FUSED


def locked(accumulate: Instruction, user: Instruction, older: Instruction | None) -> float:
    """For three cycles no additions and no multiple loads and stores; single ones and moves only as the older of two.

    So only the first multiply-accumulate of a row issues beside a load.
    """
    if user.name.startswith(("vadd", "vsub", *_MULTIPLE)):
        return 4.0
    if older is not None and (user.name.startswith(_SINGLE) or (locks(user) and older.name.startswith(_SINGLE))):
        return 4.0
    return 2.0 if accumulate.name in _ROUNDED and user.name in _FUSED - _ROUNDED else 0.0


def swift(instruction: Instruction, younger: bool) -> bool:
    """Additions, subtractions and moves as the older of a pair, and shifts, can use the early ALU."""
    if instruction.kind is Kind.SHIFT:
        return True
    return not younger and instruction.name in _EARLY_ALU and not instruction.shifted_reads


def pairs(older: Instruction, younger: Instruction) -> bool:
    """Two issue together, unless ...; bit fields, extensions and SIMD (one pipe) only as the older of the two."""
    kinds = (older.kind, younger.kind)
    one_pipe = (Kind.EXTEND, Kind.SIMD)
    shifted, shifts = bool(younger.shifted_reads) and younger.kind is Kind.ALU, older.kind is Kind.SHIFT
    both = {older.kind, younger.kind}
    return not (
        Kind.DIVIDE in both
        or Kind.OTHER in both
        or older.registers > 1
        or younger.registers > 1  # multiple loads and stores go alone
        or any(one.name.startswith(_MULTIPLE) for one in (older, younger))
        or (older.kind in _MULTIPLY and younger.kind in (*_MULTIPLY, Kind.STORE))
        or (older.kind is Kind.STORE and younger.kind in (*_MULTIPLY, Kind.STORE))
        or kinds == (Kind.BRANCH, Kind.BRANCH)
        or (kinds == (Kind.LOAD, Kind.LOAD) and _same_bank(older, younger))
        or younger.kind in one_pipe
        or (shifted and (shifts or older.shifted_reads or older.name in _SHIFTER))
        or (bool(older.shifted_reads) and younger.name in _SHIFTER)
        or (kinds == (Kind.FLOAT, Kind.FLOAT) and "vmov" not in (older.name, younger.name))
    )


def _same_bank(a: Instruction, b: Instruction) -> bool:
    """Whether two loads may want the same bank (even or odd words): unless their offsets from one base differ in it."""
    if a.displacement is None or b.displacement is None or a.base != b.base or a.base in a.writes:
        return True
    return (a.displacement // 4 - b.displacement // 4) % 2 == 0


def taken(_: Instruction, __: Instruction | None, ___: Instruction) -> float:
    """A predicted taken branch costs nothing of its own."""
    return 0.0


RULES = Rules(
    issue=issue,
    wait=wait,
    pairs=pairs,
    swift=swift,
    taken=taken,
    locks=locks,
    locked=locked,
    mispredict=MISPREDICT,
)
