"""Weights and arena lie where they are placed, and what that takes is accounted for."""

import pytest

from ndtool.benchmarks.bench import bench
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.placement import USUAL, Placement, other_placements, parse_placement
from ndtool.benchmarks.report.sections import sections
from ndtool.benchmarks.subject import open_subject
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError

from . import tiny

BOARD = load_target("stm32h7a3")


def test_placements_are_read():
    assert parse_placement((), BOARD) == USUAL
    assert parse_placement(("weights=sram", "arena=dtcm"), BOARD) == Placement(weights="sram", arena="dtcm")


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("stm32h7a3", "arena=flash", "is no placement: write weights=flash|sram|dtcm; arena=sram|dtcm"),
        ("stm32h7a3", "stack=sram", "is no placement"),
        ("stm32l4r5", "arena=dtcm", "has no dtcm"),
        ("stm32f746", "arena=dtcm", "is the first part of the SRAM"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(target, text, message):
    with pytest.raises(NdtoolError, match=message.replace("|", r"\|")):
        parse_placement((text,), load_target(target))


def test_the_linker_puts_weights_and_arena_there(tmp_path):
    place = Placement(weights="sram", arena="dtcm")
    library = tiny.library()
    found = measure(library, BOARD, inputs=RandomInputs(count=1), keep=tmp_path, place=place)
    usual = measure(library, BOARD, inputs=RandomInputs(count=1))
    elf = FirmwareElf(tmp_path / "firmware.elf")
    assert elf.section(".arena").address >> 24 == 0x20
    if elf.section(".weights"):
        assert elf.section(".weights").address >> 24 == 0x24
    assert found.cost.instructions == pytest.approx(usual.cost.instructions, rel=0.01)
    assert found.flash.weights == usual.flash.weights
    assert found.fits


def test_fast_counts_alone():
    found = measure(tiny.library(), BOARD, inputs=RandomInputs(count=1), fast=True)
    assert found.cost.instructions
    assert found.cost.cycles is None
    assert found.timing is None
    assert all(layer.cost.cycles is None for layer in found.layers)


def test_other_placements_change_one_part_and_fit():
    small = {"weights": 1000, "arena": 1000}
    assert list(other_placements(BOARD, USUAL, small)) == [
        Placement(weights="sram"),
        Placement(weights="dtcm"),
        Placement(arena="dtcm"),
    ]
    large = {"weights": 200 * 1024, "arena": 200 * 1024}
    assert list(other_placements(BOARD, USUAL, large)) == [Placement(weights="sram")]
    assert list(other_placements(load_target("stm32f746"), USUAL, small)) == [Placement(weights="sram")]


def test_a_profile_says_what_another_placement_brings(shared):
    subject = open_subject(str(shared / "models" / "ad.tflite"))
    found = bench(subject, BOARD, inputs=RandomInputs(count=1), placements=True)
    cycles = dict(found.placements)
    assert cycles[Placement(weights="sram")] < found.cost.cycles  # every weight is read once, a line of flash at a time
    shown = {section.title: section.rows for section in sections(found, profile=True)}
    rows = shown["instead of weights in flash and arena in sram (cycles modelled; --place)"]
    assert rows[0][:2] == ("weights in sram", "arena in sram")
    assert rows[0][3].startswith("-")
