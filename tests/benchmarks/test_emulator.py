"""The emulator counts exactly, refuses what the core lacks, and says what went wrong."""

from collections import Counter

import numpy as np
import pytest
import unicorn
from unicorn import arm_const

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation import native_code
from ndtool.benchmarks.emulation.counts import Segments, decoded, instructions_of
from ndtool.benchmarks.emulation.emulator import UnicornEmulator
from ndtool.benchmarks.emulation.stack import stack_region
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError

PLAIN = Segments(ranges=(), initial=0)

# If-then blocks, a jump table, calls, loops, straight code longer than a translation block, 2- and 4-byte instructions.
VARIED = """
volatile int32_t sink;
static int32_t pick(int32_t x)
{
    switch (x & 7) {
    case 0: return x * 3; case 1: return x - 5; case 2: return x ^ 0x55; case 3: return x >> 2;
    case 4: return x + 1000000; case 5: return -x; case 6: return x | 9; default: return x & 77;
    }
}
#define TEN(x) x x x x x x x x x x
__attribute__((noinline)) static int32_t work(int32_t n)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += pick(i);
        if (sum > 100) sum -= 7;
        if (sum < -100 && (i & 1)) sum = i;
        sum = sum > i ? sum : i + 1;
    }
    TEN(TEN(TEN(sink = sum; sum += 3;)))
    return sum;
}
int main(void) { for (;;) { ndtool_start(); sink = work(500); ndtool_stop(); } }
"""


def emulate(elf: FirmwareElf, core: str = "cortex-m7", **how) -> UnicornEmulator:
    target = load_target(core)
    return UnicornEmulator(elf, target.core, target.memory, how.pop("segments", PLAIN), **how)


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus"])
@pytest.mark.parametrize("optimise", ["-O1", "-O3"])
def test_block_counts_equal_a_hook_on_every_instruction(elf, core, optimise):
    program = elf(VARIED, core=core, optimise=optimise)
    counts = emulate(program, core).run()
    from_blocks, conditional = Counter(), set()
    for edge in decoded(counts, program, {}):
        for instruction in edge.block.instructions:
            from_blocks[instruction.address] += edge.count
            if instruction.conditional:
                conditional.add(instruction.address)

    machine, hooked = emulate(program, core), Counter()
    machine._uc.hook_add(unicorn.UC_HOOK_CODE, lambda uc, address, size, _: hooked.update((address,)))
    machine.run()
    assert counts.instructions == from_blocks.total() > 5000
    # Unicorn's hook passes over instructions whose IT condition fails; they are issued all the same, and counted.
    failed = from_blocks - hooked
    assert not hooked - from_blocks
    assert set(failed) <= conditional
    if core == "cortex-m0plus":  # no IT
        assert counts.instructions == hooked.total()


def test_python_counts_the_same_edges_as_native_code(elf):
    program = elf(VARIED)
    work = program.symbols["work"]
    segments = Segments(ranges=((work.address, work.address + work.bytes, 3),), initial=0)
    native, slow = (emulate(program, segments=segments, native=native).run() for native in (True, False))
    assert native.instructions == slow.instructions
    assert sorted(native.edges) == sorted(slow.edges)
    assert {edge[4] for edge in native.edges} == {0, 3}


def test_without_a_compiler_for_the_host_counting_falls_back_to_python(elf, monkeypatch):
    def refuse(*sources):
        raise NdtoolError("no compiler")

    program = elf(VARIED)
    expected = emulate(program).run().instructions
    monkeypatch.setattr(native_code, "load", refuse)
    machine = emulate(program)
    assert machine.note == "blocks counted in Python"
    assert machine.run().instructions == expected


def test_edges_add_up_to_the_instructions(elf):
    program = elf(VARIED)
    counts = emulate(program).run()
    edges = decoded(counts, program, {})
    assert sum(edge.count * len(edge.block.instructions) for edge in edges) == counts.instructions
    assert sum(edge.previous is None for edge in edges) == 1
    assert instructions_of(counts.edges, program) == counts.instructions


def test_rewinding_repeats_a_run_exactly(elf):
    program = elf(
        "int32_t state = 1;\nint main(void) { ndtool_start(); while (state < 9999) state *= 3; ndtool_stop(); }"
    )
    machine = emulate(program)
    first = machine.run()
    machine.rewind()
    assert machine.run().instructions == first.instructions


SMLAD = 'int main(void) { ndtool_start(); __asm__ volatile(".short 0xfb21, 0x1201"); ndtool_stop(); }'
SXTB16 = 'int main(void) { ndtool_start(); __asm__ volatile(".short 0xfa2f, 0xf180"); ndtool_stop(); }'
UNALIGNED = "int main(void) { ndtool_start(); (void)*(volatile uint32_t *)0x20000101u; ndtool_stop(); }"


@pytest.mark.parametrize(("core", "source"), [("cortex-m0plus", SMLAD), ("cortex-m3", SXTB16)])
def test_a_core_without_dsp_refuses_it(elf, core, source):
    program = elf(source, core=core)
    with pytest.raises(NdtoolError, match=rf"fault at 0x08\w+ in main\S*: undefined instruction .* {core}"):
        emulate(program, core).run()
    assert emulate(program, "cortex-m4").run().instructions > 0


def test_a_cortex_m0plus_refuses_unaligned_loads(elf):
    program = elf(UNALIGNED, core="cortex-m0plus")
    with pytest.raises(NdtoolError, match=r"fault at .* in main.*an unaligned access"):
        emulate(program, "cortex-m0plus").run()
    assert emulate(program, "cortex-m7").run().instructions > 0


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
def test_single_precision_runs_on_cores_with_an_fpu(elf, core):
    source = (
        "volatile float x = 1.5f;\nint main(void) { ndtool_start(); x = x * x + 0.25f; ndtool_stop(); for (;;) { } }"
    )
    program = elf(source, core=core)
    machine = emulate(program, core)
    machine.write(program.symbols["x"].address, np.float32(1.5).tobytes())
    machine.run()
    assert np.frombuffer(machine.read(program.symbols["x"].address, 4), dtype=np.float32) == 2.5


def test_an_unmapped_access_names_place_and_address(elf):
    program = elf("int main(void) { ndtool_start(); *(volatile int *)0x50001000u = 1; ndtool_stop(); }")
    with pytest.raises(NdtoolError, match=r"fault at 0x08\w+ in main\+\S+: it writes 4 bytes at 0x50001000"):
        emulate(program).run()


def test_a_program_without_end_is_given_up(elf):
    program = elf("volatile int go = 1;\nint main(void) { ndtool_start(); while (go) { } ndtool_stop(); }")
    machine = emulate(program, limit=100_000)
    machine.write(program.symbols["go"].address, b"\1\0\0\0")
    with pytest.raises(
        NdtoolError, match="ndtool_stop is not reached within 100,000 instructions: it is still in main"
    ):
        machine.run()


def test_a_missing_marker_is_named(elf):
    program = elf("int main(void) { return 0; }", markers=False)
    with pytest.raises(NdtoolError, match="no symbol ndtool_start: call empty functions ndtool_start and ndtool_stop"):
        emulate(program)


def test_the_stack_is_painted_and_read_back(elf):
    deep = """
    __attribute__((noinline)) static void deep(void)
    {
        volatile uint8_t buffer[1000];
        for (int i = 0; i < 1000; i++) buffer[i] = (uint8_t)i;
    }
    int main(void) { ndtool_start(); deep(); ndtool_stop(); for (;;) { } }
    """
    program = elf(deep)
    machine = emulate(program)
    stack = stack_region(program, load_target("cortex-m7").memory.values(), machine.stack_pointer())
    stack.paint(machine)
    machine.run()
    assert 1000 <= stack.depth(machine) <= 1040


def test_a_stack_that_reaches_the_limit_is_an_error(elf):
    program = elf("int main(void) { ndtool_start(); ndtool_stop(); for (;;) { } }")
    machine = emulate(program)
    stack = stack_region(program, load_target("cortex-m7").memory.values(), machine.stack_pointer())
    stack.paint(machine)
    machine.write(stack.limit, bytes(4))
    with pytest.raises(NdtoolError, match="the stack overflows"):
        stack.depth(machine)


def test_start_up_code_may_write_the_system_control_space(elf):
    program = elf(
        "int main(void) { *(volatile uint32_t *)0xE000ED88u = 0xF00000u; ndtool_start(); ndtool_stop(); for (;;) { } }"
    )
    assert emulate(program).run().instructions == 2


def test_unicorn_with_mclass_ignores_the_core():
    """Why the emulator does not use that mode: a Cortex-M0 would run SMLAD."""
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M0)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, bytes.fromhex("21fb0112"))
    uc.emu_start(0x1001, 0x1004)
    assert uc.reg_read(arm_const.UC_ARM_REG_PC) == 0x1004
