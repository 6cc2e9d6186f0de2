"""The manifest is sound, images run from reset to a function's return, and errors become what is stated."""

import hashlib
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from ndtool.benchmarks.emulation.counts import Segments
from ndtool.benchmarks.emulation.emulator import Function, UnicornEmulator
from ndtool.benchmarks.emulation.image import FirmwareImage
from ndtool.benchmarks.targets import load_target, target_names
from ndtool.benchmarks.validation.compare import Comparison, accuracy, compare, summary
from ndtool.benchmarks.validation.page import write_page
from ndtool.benchmarks.validation.points import read_points
from ndtool.errors import NdtoolError

POLLING = """
static volatile unsigned *const flag = (unsigned *)0x40021000;
int table[4];
volatile int sink;
__attribute__((noinline, used)) void prepare(void) { for (int i = 0; i < 4; i++) table[i] += i + 1; }
__attribute__((noinline, used)) void infer(void) { for (int i = 0; i < 4; i++) sink += table[i]; }
int main(void)
{
    *flag = 0;
    while (!(*flag & 0x20)) ;
    prepare();
    for (;;) { ndtool_start(); infer(); ndtool_stop(); }
}
"""
NONE = Segments(ranges=(), initial=0)


@pytest.fixture
def image(elf, tmp_path):
    program = elf(POLLING, core="cortex-m4")
    end = max(s.load_address + len(s.data) for s in program.segments)
    start = min(s.load_address for s in program.segments)
    data = bytearray(end - start)
    for segment in program.segments:
        data[segment.load_address - start : segment.load_address - start + len(segment.data)] = segment.data
    path = tmp_path / "image.bin"
    path.write_bytes(data)
    return program, path, start


def _machine(path, origin, program, **how) -> UnicornEmulator:
    target = load_target("stm32l4r5")
    function = Function(
        ready=program.symbols["prepare"].address,
        entry=program.symbols["infer"].address,
        calls=(program.symbols["prepare"].address,),
    )
    return UnicornEmulator(
        FirmwareImage(path, origin), target.core, target.memory, NONE, function=function, waits=target.waits, **how
    )


def test_an_image_runs_from_reset_past_a_polled_flag_to_a_function_s_return(image):
    program, path, origin = image
    machine = _machine(path, origin, program)
    counts = machine.run()
    sink = program.symbols["sink"].address
    assert int.from_bytes(machine.read(sink, 4), "little") == 10
    machine.rewind()
    assert machine.run().instructions == counts.instructions
    assert int.from_bytes(machine.read(sink, 4), "little") == 20  # an image's memory stays as it is


def test_intel_hex_is_read_as_the_same_bytes(tmp_path):
    def record(kind, address, data):
        raw = bytes([len(data), address >> 8, address & 255, kind]) + data
        return ":" + (raw + bytes([-sum(raw) & 255])).hex().upper()

    path = tmp_path / "image.hex"
    records = [(4, 0, b"\x08\x00"), (0, 4, b"abcd"), (0, 0, b"xy"), (1, 0, b"")]
    path.write_text("\n".join(record(*parts) for parts in records))
    [segment] = FirmwareImage(path, 0).segments
    assert (segment.address, segment.data) == (0x08000000, b"xy\xff\xffabcd")
    path.write_text(":00000001FE")
    with pytest.raises(NdtoolError, match="not an Intel hex file"):
        FirmwareImage(path, 0)


def test_the_manifest_names_boards_and_fits_on_one_round_alone():
    points, elsewhere = read_points()
    assert len(points) >= 60
    assert len({point.name for point in points}) == len(points)
    assert {point.target for point in points} <= set(target_names())
    assert all("tiny_results_v1.1/closed/bosch" in point.file for point in points if point.fit)
    assert {load_target(point.target).core.name for point in points if point.fit} == {
        "cortex-m0plus",
        "cortex-m33",
        "cortex-m4",
        "cortex-m7",
    }
    assert elsewhere


def test_programs_that_were_built_again_are_not_fitted_and_need_not_be_there(tmp_path):
    points, elsewhere = read_points()
    rebuilt = [point for point in points if not point.exact]
    assert {point.target for point in rebuilt} == {"m467", "nrf5340", "stm32l4r5"}
    assert not any(point.fit or point.function for point in rebuilt)
    assert list(compare(rebuilt, elsewhere, tmp_path)) == []


def test_another_file_than_the_one_on_silicon_is_refused(image):
    _, path, _ = image
    points, elsewhere = read_points()
    other = replace(points[0], file=path.name)
    with pytest.raises(NdtoolError, match="SHA-256"):
        next(compare([other], elsewhere, path.parent))
    with pytest.raises(NdtoolError, match="no such file"):
        next(compare([replace(other, file="missing.bin")], elsewhere, path.parent))


def test_a_point_is_run_and_costed(image):
    program, path, origin = image
    points, elsewhere = read_points()
    point = next(point for point in points if point.target == "stm32l4r5")
    mine = replace(
        point,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        origin=origin,
        function=Function(ready=program.symbols["prepare"].address, entry=program.symbols["infer"].address),
        per_second=1e6,
    )
    [found] = compare([mine], elsewhere, path.parent)
    assert found.measured == 120
    assert found.predicted == pytest.approx(sum(found.parts.values()))
    assert found.instructions <= found.predicted < 10 * found.instructions
    assert found.error == pytest.approx(found.predicted / 120 - 1)


def _comparison(error: float, **how) -> Comparison:
    points, _ = read_points()
    point = next(point for point in points if point.target == "stm32f746" and not point.fit)
    return Comparison(
        point=replace(point, **how),
        core="cortex-m7",
        instructions=100,
        predicted=100 * (1 + error),
        alone=50,
        measured=100,
        parts={},
    )


def test_nine_of_ten_programs_keep_the_error_that_is_stated(tmp_path):
    found = [_comparison(index / 100) for index in range(10)] + [_comparison(0.5, is_float=True)]
    earned = accuracy(found)["cortex-m7"]
    assert (earned["points"], earned["boards"]) == (10, {"stm32f746": 10})
    assert earned["error"] == pytest.approx(0.08, abs=0.0011)
    assert earned["error_without_memory"] == 0.5
    assert accuracy([_comparison(0.1, sha256=None)]) == {}  # built again: states nothing
    rows = {row[1]: row for row in summary(found)}
    assert rows["exact, integer"][2:5] == (10, pytest.approx(0.045), pytest.approx(0.09))
    assert rows["exact, float"][2] == 1
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- made by ndtool.benchmarks.validation -->\nold\n<!-- end of what is made -->\nafter\n")
    write_page(found, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "+9.0 %" in text
    assert "![cortex-m7: error of each program](page-cortex-m7.svg)" in text
    for name in ("page-scatter.svg", "page-cortex-m7.svg"):
        figure = page.with_name(name).read_text()
        ElementTree.fromstring(figure)
        assert figure.count("<title>") == 11
