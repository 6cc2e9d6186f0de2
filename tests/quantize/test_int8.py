from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.quantize.floats import float_operators
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate
from ndtool.quantize.runtime import TensorInfo, TFLiteModel, quantise, to_real, to_tensor
from ndtool.quantize.stand_ins import STAND_INS, disguise, undisguise
from ndtool.quantize.tflite import code_of, kind_of, read_model, set_code, type_of, write_model
from ndtool.quantize.unsupported import UnsupportedOperators
from ndtool.tests.export.c.harness import T, single_op


@pytest.fixture(scope="module")
def int8_model(float_model: Path, samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("int8") / "int8.tflite"
    quantize_int8(float_model, calibrate(float_model, samples), out)
    return out


def test_ends_are_int8_with_the_given_ranges(int8_model: Path, float_model: Path, samples: np.ndarray) -> None:
    model, ranges = TFLiteModel(int8_model), calibrate(float_model, samples)
    info = model.inputs[0]
    low, high = ranges["input"]
    assert info.dtype == np.int8
    assert info.scale == pytest.approx((high - low) / 255)
    assert info.scale * (-128 - info.zero_point) == pytest.approx(low, abs=info.scale / 2)
    assert (model.outputs[0].scale, model.outputs[0].zero_point) == (1 / 256, -128)  # of a softmax


def test_weights_are_quantised_per_channel(int8_model: Path) -> None:
    graph = read_model(int8_model).subgraphs[0]
    quantised = [t for t in graph.tensors if t.quantization is not None and t.quantization.scale is not None]
    weights = [t for t in quantised if len(t.quantization.scale) > 1]
    sizes = sorted(len(t.quantization.scale) for t in weights if type_of(t) == "INT8")
    assert sizes == [4, 8]
    assert all((np.asarray(tensor.quantization.zeroPoint) == 0).all() for tensor in weights)


def test_operators_unknown_to_the_quantizer_keep_their_kind(int8_model: Path) -> None:
    model = read_model(int8_model)
    kinds = [kind_of(model, op) for op in model.subgraphs[0].operators]
    assert "LEAKY_RELU" in kinds
    assert not {"DEQUANTIZE", "QUANTIZE"} & set(kinds)


def test_quantising_again_gives_the_same_bytes(
    int8_model: Path, float_model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    quantize_int8(float_model, calibrate(float_model, samples), tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == int8_model.read_bytes()


def test_a_quantised_model_is_refused(int8_model: Path, tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match="quantised already"):
        quantize_int8(int8_model, {}, tmp_path / "out.tflite")


def test_a_tensor_without_range_is_refused(float_model: Path, tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match="'input' has no range"):
        quantize_int8(float_model, {}, tmp_path / "out.tflite")


def test_all_operators_that_stay_in_float_are_refused_at_once(
    float_model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model = read_model(float_model)
    for entry in model.operatorCodes:  # unary operators that the quantizer has no int8 form of
        if code_of(entry) == BuiltinOperator.LEAKY_RELU:
            set_code(entry, BuiltinOperator.SIN)
        if code_of(entry) == BuiltinOperator.SOFTMAX:
            set_code(entry, BuiltinOperator.COS)
    changed, out = tmp_path / "changed.tflite", tmp_path / "out.tflite"
    changed.write_bytes(write_model(model))
    with pytest.raises(UnsupportedOperators) as caught:
        quantize_int8(changed, calibrate(float_model, samples), out)
    assert [(found.operator, found.source) for found in caught.value.findings] == [("SIN", "act"), ("COS", "")]
    assert not out.exists()


def test_float_ends_are_allowed_where_asked(shared: Path) -> None:
    model = read_model(shared / "models" / "mcunet_vww.tflite")
    assert [found.operator for found in float_operators(model)] == ["QUANTIZE", "DEQUANTIZE"]
    assert float_operators(model, float_ends=True) == []


def test_stand_ins_are_undone(float_model: Path) -> None:
    model = read_model(float_model)
    before = [code_of(entry) for entry in model.operatorCodes]
    truth = disguise(model)
    assert [kind_of(model, op) for op in model.subgraphs[0].operators].count("LEAKY_RELU") == 0
    undisguise(model, truth)
    assert [code_of(entry) for entry in model.operatorCodes] == before


def test_stand_ins_are_known_to_the_quantizer_and_the_others_are_not() -> None:
    from ndtool.quantize.quiet import quiet

    with quiet():
        from ai_edge_quantizer.qtyping import TFLOperationName
    known = {name.value for name in TFLOperationName}
    assert set(STAND_INS.values()) <= known
    assert not set(STAND_INS) & known  # else the stand-in is no longer needed


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64])
def test_files_that_are_no_models_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(NdtoolError) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_buffers_behind_the_flatbuffer_are_taken_in(float_model: Path, tmp_path: Path) -> None:
    model = read_model(float_model)
    buffer = max(model.buffers, key=lambda each: 0 if each.data is None else len(each.data))
    data, buffer.data, buffer.size = bytes(buffer.data), None, len(buffer.data)
    buffer.offset = 1 << 20
    buffer.offset = len(write_model(model))
    outside = tmp_path / "outside.tflite"
    outside.write_bytes(write_model(model) + data)
    x = np.ones((1, 8, 8, 3), np.float32)
    inside = write_model(read_model(outside))
    assert (TFLiteModel(inside).run(x)[0] == TFLiteModel(float_model).run(x)[0]).all()
    outside.write_bytes(outside.read_bytes()[:-1])
    with pytest.raises(NdtoolError, match="damaged"):
        read_model(outside)


@settings(max_examples=100, deadline=None)
@given(
    scale=st.floats(2.0**-14, 8.0, width=32),
    zero_point=st.integers(-128, 127),
    values=st.lists(st.integers(-128, 127), min_size=1, max_size=8),
)
def test_int8_values_survive_the_way_to_reals_and_back(scale: float, zero_point: int, values: list[int]) -> None:
    info = TensorInfo(
        index=0, name="x", shape=(len(values),), dtype=np.dtype(np.int8), scale=scale, zero_point=zero_point
    )
    q = np.array(values, dtype=np.int8)
    assert (to_tensor(to_real(q, info), info) == q).all()


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1, 3.0])
@pytest.mark.parametrize("zero_point", [0, 3, -128])
def test_reals_become_the_integers_that_litert_makes_of_them(scale: float, zero_point: int) -> None:
    halves = np.arange(-300, 301, dtype=np.float32) / 2
    beside = [np.nextafter(halves, np.float32(to)) for to in (-np.inf, np.inf)]  # 0.49999997 + 0.5 is 1 in float32
    values = np.concatenate([halves, *beside, np.array([1e6, -1e6], dtype=np.float32)]) * np.float32(scale)
    x = T(shape=values.shape, dtype="float32")
    content = single_op("QUANTIZE", [x], [T(shape=values.shape, scale=scale, zero_point=zero_point)])
    expected = TFLiteModel(content, reference=True).run(values)[0]
    np.testing.assert_array_equal(quantise(values, scale, zero_point), expected)
