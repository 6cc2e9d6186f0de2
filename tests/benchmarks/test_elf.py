import pytest

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.emulator import reset_vector
from ndtool.benchmarks.emulation.native_code import COUNTER, load
from ndtool.errors import NdtoolError
from ndtool.files import cache_dir

MAIN = "volatile int zero; volatile int one = 1;\nint main(void) { ndtool_start(); ndtool_stop(); return zero + one; }"


def test_functions_and_offsets_have_names(elf):
    program = elf(MAIN)
    main = program.symbols["main"]
    assert program.where(main.address) == "main"
    assert program.where(main.address + 2) == "main+0x2"
    assert program.where(0x20000000) == "0x20000000"
    assert program.function_at(main.address + main.bytes - 2).name == "main"


def test_kernels_have_their_plain_names(elf):
    kernel = "int nd_scale_0badc0de(void); __attribute__((noinline)) int nd_scale_0badc0de(void) { return zero; }\n"
    program = elf(f"{MAIN.splitlines()[0]}\n{kernel}int main(void) {{ ndtool_start(); return nd_scale_0badc0de(); }}")
    assert program.where(program.symbols["nd_scale"].address) == "nd_scale"


def test_static_memory_and_flash_add_up(elf):
    program = elf(MAIN)
    assert program.static_bytes() == 8
    assert program.static_bytes(".bss") == 4
    flash = program.flash()
    assert flash.total == sum(len(segment.data) for segment in program.segments)
    assert flash.weights == 0


def test_the_reset_vector_is_read(elf):
    program = elf(MAIN)
    assert reset_vector(program) == (0x20010000, program.symbols["reset"].address)


def test_no_file(tmp_path):
    with pytest.raises(NdtoolError, match=r"nothing.elf: cannot be read: No such file"):
        FirmwareElf(tmp_path / "nothing.elf")


def test_a_file_that_is_no_elf(tmp_path):
    (tmp_path / "a.elf").write_bytes(b"not an ELF at all")
    with pytest.raises(NdtoolError, match=r"a.elf: not a readable ELF file"):
        FirmwareElf(tmp_path / "a.elf")


def test_a_truncated_elf(link, tmp_path):
    whole = link(MAIN).read_bytes()
    for length in (20, 60, 200, len(whole) // 2):
        (tmp_path / "short.elf").write_bytes(whole[:length])
        with pytest.raises(NdtoolError):
            reset_vector(FirmwareElf(tmp_path / "short.elf"))


def test_an_elf_for_another_machine():
    load(*COUNTER)
    (native, *_) = (cache_dir() / "native").glob("counter-*.so")
    if native.read_bytes()[:4] != b"\x7fELF":
        pytest.skip("this host's libraries are not ELF")
    with pytest.raises(NdtoolError, match="not an ELF for a Cortex-M: it is for"):
        FirmwareElf(native)
