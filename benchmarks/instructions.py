"""Thumb code, decoded: what a timing model and a profile need to know of an instruction."""

import enum
from dataclasses import dataclass
from functools import cache
from typing import Any


class Kind(enum.Enum):
    """Classes of instructions, as profiles show them."""

    ALU = "alu"
    SHIFT = "shift"
    EXTEND = "extend"  # sign and zero extension, bit fields, byte reversal, packing
    MULTIPLY = "multiply"
    MAC = "mac"  # multiply-accumulate, dual 16-bit ones included
    SIMD = "simd"  # parallel and saturating arithmetic
    DIVIDE = "divide"
    LOAD = "load"
    STORE = "store"
    BRANCH = "branch"
    FLOAT = "float"
    OTHER = "other"  # it, nop, barriers, special registers, what is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. Registers are capstone's numbers."""

    address: int
    bytes: int
    name: str  # without condition and width: "ldrb"
    text: str
    kind: Kind
    reads: frozenset[int]
    writes: frozenset[int]
    address_reads: frozenset[int]  # registers that form a memory address
    accumulator: int | None  # register that a multiply-accumulate adds to
    registers: int  # moved by a multiple load or store; 1 otherwise
    conditional: bool
    shifted_reads: frozenset[int]  # registers that go through the shifter before the operation proper
    indexed: bool  # memory operand with a register offset
    displacement: int | None  # of a memory operand with one base register, in bytes
    base: int | None  # register of that memory operand


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Instructions executed one after the other; compared by identity."""

    address: int
    bytes: int
    instructions: tuple[Instruction, ...]

    @property
    def end(self) -> int:
        """The address after the last instruction."""
        return self.address + self.bytes


_SHIFTS = {"lsl", "lsr", "asr", "ror", "rrx"}
_EXTENDS = {
    "sxtb",
    "sxth",
    "uxtb",
    "uxth",
    "sxtb16",
    "uxtb16",
    "sxtab",
    "sxtah",
    "uxtab",
    "uxtah",
    "sxtab16",
    "uxtab16",
}
_EXTENDS |= {"ubfx", "sbfx", "bfi", "bfc", "rev", "rev16", "revsh", "rbit", "clz", "pkhbt", "pkhtb"}
_MULTIPLIES = {"mul", "smull", "umull", "smulbb", "smulbt", "smultb", "smultt", "smulwb", "smulwt", "smmul", "smmulr"}
_MULTIPLIES |= {"smuad", "smuadx", "smusd", "smusdx"}
_MACS = {"mla", "mls", "smlal", "umlal", "umaal", "smlad", "smladx", "smlald", "smlaldx", "smlsd", "smlsdx", "smlsld"}
_MACS |= {"smlabb", "smlabt", "smlatb", "smlatt", "smlawb", "smlawt", "smlalbb", "smlalbt", "smlaltb", "smlaltt"}
_MACS |= {"smmla", "smmlar", "smmls", "smmlsr", "smlsldx"}
_SIMD = {"ssat", "usat", "ssat16", "usat16", "qadd", "qsub", "qdadd", "qdsub", "sel", "usad8", "usada8"}
_SIMD |= {p + o for p in ("s", "u", "q", "uq", "sh", "uh") for o in ("add8", "add16", "sub8", "sub16", "asx", "sax")}
_LONG_MACS = {"smlal", "umlal", "umaal", "smlald", "smlaldx", "smlsld", "smlsldx", "smlalbb", "smlalbt", "smlaltb"}
_LONG_MACS |= {"smlaltt"}
_BRANCHES = {"b", "bl", "blx", "bx", "cbz", "cbnz", "tbb", "tbh"}
_ALU = {"add", "addw", "sub", "subw", "rsb", "adc", "sbc", "mov", "movw", "movt", "mvn", "and", "orr", "orn", "eor"}
_ALU |= {"bic", "cmp", "cmn", "tst", "teq", "adr"}


# Of these kinds, what a core without the DSP extension has all the same.
_PLAIN = {"mul", "smull", "umull", "mla", "mls", "smlal", "umlal", "ssat", "usat"}
_PACKS = {"pkhbt", "pkhtb", "sxtb16", "uxtb16"} | {n for n in _EXTENDS if n.startswith(("sxta", "uxta"))}


def is_dsp(instruction: Instruction) -> bool:
    """Whether an instruction needs the DSP extension of Armv7E-M and Armv8-M (Armv7-M ARM, A4.4)."""
    computes = instruction.kind in (Kind.MULTIPLY, Kind.MAC, Kind.SIMD) and instruction.name not in _PLAIN
    return computes or instruction.name in _PACKS


@cache
def _disassembler() -> Any:
    import capstone

    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    decoder.detail = True
    return decoder


def _width(code: bytes, position: int) -> int:
    """Bytes of the instruction at a position: 4 if it starts with 0b11101, 0b11110 or 0b11111 (Armv7-M ARM, A5.1)."""
    return 4 if code[position + 1] >> 3 >= 0b11101 else 2


def count(code: bytes) -> int:
    """The number of instructions in a block, those whose IT condition may fail included: they are issued as well."""
    position = number = 0
    while position < len(code):
        position += _width(code, position)
        number += 1
    return number


def decode(address: int, code: bytes) -> Block:
    """Decode a block; what capstone does not know becomes an instruction of kind OTHER, so that counts stay exact."""
    position, instructions = 0, []
    while position < len(code):
        # All that follows at once: capstone keeps track of IT blocks within a call.
        for raw in _disassembler().disasm(code[position:], address + position):
            if raw.size != _width(code, position):
                break
            instructions.append(_instruction(raw))
            position += raw.size
        if position < len(code):
            width = _width(code, position)
            instructions.append(_unknown(address + position, width))
            position += width
    return Block(address=address, bytes=len(code), instructions=tuple(instructions))


def _unknown(address: int, width: int) -> Instruction:
    none: frozenset[int] = frozenset()
    return Instruction(
        address=address,
        bytes=width,
        name="?",
        text="?",
        kind=Kind.OTHER,
        reads=none,
        writes=none,
        address_reads=none,
        accumulator=None,
        registers=1,
        conditional=False,
        shifted_reads=none,
        indexed=False,
        displacement=None,
        base=None,
    )


def _instruction(raw: Any) -> Instruction:
    from capstone import arm_const as arm

    name = raw.insn_name()
    reads, writes = (frozenset(registers) for registers in raw.regs_access())
    memory = [operand for operand in raw.operands if operand.type == arm.ARM_OP_MEM]
    kind = _kind(name, writes, arm)
    registers = [operand.reg for operand in raw.operands if operand.type == arm.ARM_OP_REG]
    base = {register for operand in memory for register in (operand.mem.base, operand.mem.index) if register}
    if name in ("ldm", "ldmdb", "stm", "stmdb", "vldmia", "vstmia"):
        base = set(registers[:1])
        registers = registers[1:]
    accumulator = None
    if kind is Kind.MAC and registers:
        accumulator = registers[0] if name in _LONG_MACS else registers[-1]
    return Instruction(
        address=raw.address,
        bytes=raw.size,
        name=name,
        text=f"{raw.mnemonic} {raw.op_str}".strip(),
        kind=kind,
        reads=reads,
        writes=writes,
        address_reads=frozenset(base),
        accumulator=accumulator,
        registers=max(1, len(registers)) if _is_multiple(name) else 1,
        conditional=name in ("cbz", "cbnz") or (raw.cc not in (arm.ARM_CC_AL, arm.ARM_CC_INVALID) and name != "it"),
        shifted_reads=_shifted(name, kind, raw.operands, arm),
        indexed=any(operand.mem.index for operand in memory),
        displacement=memory[0].mem.disp if len(memory) == 1 and not memory[0].mem.index else None,
        base=memory[0].mem.base if len(memory) == 1 else None,
    )


_EXTRACTS = {
    "bfi",
    "pkhbt",
    "pkhtb",
    "sxtab",
    "sxtah",
    "uxtab",
    "uxtah",
    "sxtab16",
    "uxtab16",
}  # from the last register


def _shifted(name: str, kind: Kind, operands: Any, arm: Any) -> frozenset[int]:
    registers = [operand for operand in operands if operand.type == arm.ARM_OP_REG]
    if name in _EXTRACTS and registers:
        return frozenset({registers[-1].reg})
    if kind is not Kind.ALU:
        return frozenset()
    found = set()
    for operand in registers:
        if operand.shift.type:
            found.add(operand.reg)
            if operand.shift.type >= arm.ARM_SFT_ASR_REG:
                found.add(operand.shift.value)
    return frozenset(found)


def _is_multiple(name: str) -> bool:
    return name in ("push", "pop", "ldm", "ldmdb", "stm", "stmdb", "vldmia", "vstmia", "vpush", "vpop") or (
        name in ("ldrd", "strd")
    )


def _kind(name: str, writes: frozenset[int], arm: Any) -> Kind:
    if name in _BRANCHES or (arm.ARM_REG_PC in writes and not name.startswith(("ldr", "ldm", "pop"))):
        return Kind.BRANCH
    if name in _ALU:
        return Kind.ALU
    for kind, names in (
        (Kind.SHIFT, _SHIFTS),
        (Kind.EXTEND, _EXTENDS),
        (Kind.MULTIPLY, _MULTIPLIES),
        (Kind.MAC, _MACS),
        (Kind.SIMD, _SIMD),
        (Kind.DIVIDE, {"sdiv", "udiv"}),
    ):
        if name in names:
            return kind
    if name.startswith(("ldr", "ldm", "pop", "vldr", "vldm", "vpop", "lda")):
        return Kind.LOAD
    if name.startswith(("str", "stm", "push", "vstr", "vstm", "vpush", "stl")):
        return Kind.STORE
    return Kind.FLOAT if name.startswith("v") else Kind.OTHER
