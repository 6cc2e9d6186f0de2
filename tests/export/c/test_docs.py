"""docs/c-library.md: its program is compiled against a real library and run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ndtool.export.c import compile_tflite, write_library
from ndtool.tests.export.c.harness import WARNINGS, O, T, constant, host_compiler, model

PAGE = Path(__file__).resolve().parents[3] / "docs" / "c-library.md"


def keyword_spotter() -> bytes:
    """A small model with one input and one output."""
    x, y = T(shape=(1, 8), scale=0.1, zero_point=3), T(shape=(1, 4), scale=0.2, zero_point=-5)
    weights = constant([[1, -2, 3, -4, 5, -6, 7, -8]] * 4, "int8", scale=0.01)
    return model([O("FULLY_CONNECTED", [x, weights, None], [y])])


@pytest.mark.parametrize("compiler", [host_compiler(), (sys.executable, "-m", "ziglang", "cc")], ids=["host", "zig"])
def test_the_program_of_the_page_runs(tmp_path, compiler):
    (program,) = re.findall(r"```c\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    write_library(compile_tflite(keyword_spotter(), name="kws"), tmp_path / "c")
    (tmp_path / "main.c").write_text(program)
    sources = sorted(map(str, (tmp_path / "c").glob("*.c")))
    flags = [flag for flag in WARNINGS if flag != "-Wmissing-prototypes"]  # the program is one file
    command = [*compiler, *flags, f"-I{tmp_path / 'c'}", str(tmp_path / "main.c"), *sources]
    subprocess.run([*command, "-o", str(tmp_path / "program")], check=True)
    subprocess.run([str(tmp_path / "program")], check=True)


def test_every_macro_and_function_of_the_page_is_in_a_header():
    page = PAGE.read_text(encoding="utf-8")
    header = compile_tflite(keyword_spotter(), name="kws").files["kws.h"]
    names = set(re.findall(r"\b(?:KWS_[A-Z_]+|kws_[a-z]+)\b", page)) | {
        name.replace("NAME_", "KWS_") for name in re.findall(r"\bNAME_[A-Z_]+\b", page)
    }
    assert names >= {"KWS_ARENA_BYTES", "KWS_INPUT_SCALE", "kws_run", "kws_selftest"}
    assert [name for name in sorted(names) if name not in header and not name.endswith("_")] == []
