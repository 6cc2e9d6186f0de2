"""The C library on this host, over whole data sets, beside LiteRT's reference kernels."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.export import engine
from ndtool.export.c import CLibrary, compile_tflite, host
from ndtool.export.engine import ENGINE, REFERENCE, evaluate_c
from ndtool.export.source import open_source
from ndtool.tests.export.c.harness import DSP, O, T, constant, model, random_int8, single_op
from ndtool.tests.export.c.test_compile import small_network
from ndtool.train.data import load_data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def classifier(tmp_path) -> Path:
    """A convolution, a mean and a layer: images of 8 x 8 x 2 to three classes."""
    rng = np.random.default_rng(0)
    x = T(shape=(1, 8, 8, 2), scale=0.05, zero_point=3, name="x")
    filters = constant(rng.integers(-127, 128, size=(8, 3, 3, 2)), "int8", scale=[0.01] * 8)
    y = T(shape=(1, 8, 8, 8), scale=0.3, zero_point=7)
    mean, scores = T(shape=(1, 8), scale=0.05, zero_point=7), T(shape=(1, 3), scale=0.1, zero_point=7)
    weights = constant(rng.integers(-127, 128, size=(3, 8)), "int8", scale=0.01)
    options = {"padding": "SAME", "strideH": 1, "strideW": 1}
    path = tmp_path / "classifier.tflite"
    ops = [
        O("CONV_2D", [x, filters, constant(range(8))], [y], options),
        O("MEAN", [y, constant([1, 2])], [mean]),
        O("FULLY_CONNECTED", [mean, weights, None], [scores]),
    ]
    path.write_bytes(model(ops))
    return path


@pytest.fixture
def data(tmp_path) -> str:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 2, 8, 8)).astype(np.float32), np.arange(60) % 3
    np.savez(tmp_path / "floats.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    return str(tmp_path / "floats.npz")


@pytest.mark.parametrize("features", [None, DSP])
def test_both_score_alike_on_data(classifier, data, features):
    result = evaluate_c(open_source(classifier), load_data(data), compiling={"features": features})
    assert (result.samples, result.outputs, result.differing) == (40, 120, 0)
    assert result.scores[ENGINE] == result.scores[REFERENCE]
    assert evaluate_c(open_source(classifier), load_data(data), limit=7).samples == 7
    assert evaluate_c(open_source(classifier), load_data(data), part="train", limit=9).outputs == 27


def test_several_inputs_and_float_ends_are_compared_on_random_inputs(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(small_network())
    result = evaluate_c(open_source(path), None, limit=5)
    assert (result.scores, result.samples, result.outputs, result.differing) == ({}, 5, 5 * (3 + 72), 0)


def tampered(library: CLibrary) -> CLibrary:
    """The same but that the first output byte is one more."""
    run = f"void {library.name}_run("
    code = library.files[f"{library.name}.c"].replace(run, f"static void whole_{run.removeprefix('void ')}", 1)
    code += (
        f"void {library.name}_run(uint32_t arena[])\n{{\n    whole_{library.name}_run(arena);\n"
        f"    ((int8_t *)arena)[{library.outputs[0].offset}]++;\n}}\n"
    )
    files = {**library.files, f"{library.name}.c": code}
    return CLibrary(**{field: getattr(library, field) for field in CLibrary.__slots__} | {"files": files})


def test_outputs_that_differ_are_counted(classifier, data, monkeypatch):
    compiled = compile_tflite(classifier, golden=0)
    monkeypatch.setattr(engine, "compile_tflite", lambda *_, **__: tampered(compiled))
    result = evaluate_c(open_source(classifier), load_data(data))
    assert result.differing == 40


def test_a_library_is_compiled_once(classifier, monkeypatch):
    library = compile_tflite(classifier, golden=0)
    first = host.load_library(library)
    monkeypatch.setattr(host, "compile_files", None)
    again = host.load_library(compile_tflite(classifier, golden=0))
    x = random_int8(np.random.default_rng(0), (1, 8, 8, 2))
    np.testing.assert_array_equal(first.run(x)[0], again.run(x)[0])
    with pytest.raises(TypeError):  # another library is another entry
        host.load_library(compile_tflite(classifier, golden=0, name="other"))


def test_inputs_of_another_shape_are_refused(classifier):
    library = host.load_library(compile_tflite(classifier, golden=0))
    with pytest.raises(NdtoolError, match=r"the input x wants \[1, 8, 8, 2\] of int8, not \[8, 8, 2\] of float64"):
        library.run(np.zeros((8, 8, 2)))


@pytest.fixture
def no_compiler(monkeypatch):
    host.host_compiler.cache_clear()
    monkeypatch.setattr(host.shutil, "which", lambda _: None)
    yield
    host.host_compiler.cache_clear()


def test_zigs_compiler_serves_where_there_is_no_other(classifier, data, no_compiler):
    result = evaluate_c(open_source(classifier), load_data(data))
    assert result.compiler.startswith("zig ")
    assert result.differing == 0


def test_no_compiler_is_one_line(classifier, no_compiler, monkeypatch):
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(NdtoolError, match=r"^there is no C compiler: install gcc or clang, or pip install ziglang$"):
        evaluate_c(open_source(classifier), None)


def test_a_compiler_that_refuses_is_one_line(classifier, monkeypatch):
    library = compile_tflite(classifier, golden=0)
    files = {**library.files, "model.c": "#error no\n"}
    broken = CLibrary(**{field: getattr(library, field) for field in CLibrary.__slots__} | {"files": files})
    with pytest.raises(NdtoolError, match=r"the C compiler refuses the library: .*no") as error:
        host.load_library(broken)
    assert "\n" not in str(error.value)


def test_what_is_no_int8_model_is_refused(tmp_path):
    x, y = (T(shape=(1, 4), dtype="float32") for _ in range(2))
    path = tmp_path / "float.tflite"
    path.write_bytes(single_op("ABS", [x], [y]))
    with pytest.raises(NdtoolError, match="only int8 models become C"):
        evaluate_c(open_source(path), None)
    with pytest.raises(NdtoolError, match="is no int8 TFLite file"):
        evaluate_c(open_source("resnet8"), None)


def test_data_need_a_model_with_one_input(tmp_path, data):
    path = tmp_path / "net.tflite"
    a, b = (T(shape=(1, 8, 8, 2), scale=0.1, zero_point=0) for _ in range(2))
    path.write_bytes(single_op("ADD", [a, b], [T(shape=(1, 8, 8, 2), scale=0.1, zero_point=0)]))
    with pytest.raises(NdtoolError, match="has 2 inputs: only models with one can be run on data"):
        evaluate_c(open_source(path), load_data(data))
