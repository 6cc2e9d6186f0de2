"""Generated libraries under AddressSanitizer and UBSan, in a program of their own."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndtool.export.c import CLibrary, compile_tflite, write_library
from ndtool.tests.export.c.harness import DSP, O, model
from ndtool.tests.export.c.test_convolution import convolutions, depthwise
from ndtool.tests.export.c.test_elementwise import extrema, products, realistic, sums
from ndtool.tests.export.c.test_fully_connected import layers
from ndtool.tests.export.c.test_pooling import means, pools, wide
from ndtool.tests.export.c.test_rewrites import padded_windows

FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c99")


def self_test_is_clean(library: CLibrary, folder: Path, *defines: str) -> None:
    """The self-test, in an arena of the exact size: no byte beyond it, no overflow, no misaligned access."""
    write_library(library, folder / "c")
    (folder / "c" / "main.c").write_text(
        f'#include "{library.name}.h"\n#include <stdlib.h>\n'
        f"int main(void)\n{{\n    uint32_t *arena = malloc({library.name.upper()}_ARENA_BYTES);\n"
        f"    const int result = {library.name}_selftest(arena);\n    free(arena);\n    return result;\n}}\n"
    )
    sources = sorted(str(path) for path in (folder / "c").glob("*.c"))
    subprocess.run(["gcc", *FLAGS, *defines, *sources, "-o", str(folder / "main")], check=True)
    done = subprocess.run([str(folder / "main")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ad", "ic", "kws", "mcunet_vww", "vww"])
def test_the_reference_models_are_clean(shared, tmp_path, name):
    self_test_is_clean(compile_tflite(shared / "models" / f"{name}.tflite"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("features", [None, DSP], ids=["portable", "dsp"])
@given(st.lists(st.one_of(convolutions(), depthwise(), layers(), pools(), means()), min_size=20, max_size=40))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_layers_are_clean(tmp_path_factory, features, ops: list[O]):
    self_test_is_clean(compile_tflite(model(ops), name="t", features=features), tmp_path_factory.mktemp("clean"))


@pytest.mark.slow
@given(
    st.lists(st.one_of(realistic(), sums(), products(), extrema(), wide(), pools(), means()), min_size=20, max_size=40),
    st.lists(padded_windows(), min_size=1, max_size=8),
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_kernels_by_words_and_fused_layers_are_clean(tmp_path_factory, ops: list[O], pairs: list[tuple[O, O]]):
    content = model([*ops, *(op for pair in pairs for op in pair)])
    self_test_is_clean(compile_tflite(content, name="t"), tmp_path_factory.mktemp("clean"))
    dsp = compile_tflite(content, name="t", features=DSP)
    self_test_is_clean(dsp, tmp_path_factory.mktemp("words"), "-DND_WORDS=1")
