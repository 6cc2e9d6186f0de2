"""Each ONNX operator, in the versions that differ, against onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ndtool.errors import NdtoolError
from ndtool.export.onnx_import import load_onnx

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
) -> Path:
    """A model with input `x` and the given outputs."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 20 else 10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def one(operator: str, *constants: str, **attributes: Any) -> onnx.NodeProto:
    """A node `y = operator(x, *constants)`."""
    return helper.make_node(operator, ["x", *constants], ["y"], name=f"the_{operator}", **attributes)


def run_onnxruntime(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime computes from the file as it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def assert_equal_to_onnxruntime(path: Path, shape: Sequence[int]) -> torch.fx.GraphModule:
    """Load the file and compare on inputs other than those of the loader's own judgement."""
    module = load_onnx(path)
    x = np.random.default_rng(7).normal(0.3, 2, size=shape).astype(np.float32)
    with torch.no_grad():
        got = module(torch.from_numpy(x))
    got = got if isinstance(got, tuple) else (got,)
    for ours, theirs in zip(got, run_onnxruntime(path, x), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4 * max(1e-3, np.abs(theirs).max()))
    return module


IMAGE = (1, 4, 6, 5)
C = dict[str, np.ndarray]

# name: operator, input shape, constants in order, attributes, operator set
CASES: dict[str, tuple[str, tuple[int, ...], C, dict[str, Any], int]] = {
    "relu": ("Relu", IMAGE, {}, {}, 9),
    "clip-attributes": ("Clip", IMAGE, {}, {"min": -0.5, "max": 0.5}, 9),
    "clip-6": ("Clip", IMAGE, {"a": number(0), "b": number(6)}, {}, 13),
    "clip-below": ("Clip", IMAGE, {"a": number(-1)}, {}, 13),
    "leaky": ("LeakyRelu", IMAGE, {}, {"alpha": 0.2}, 16),
    "prelu-one": ("PRelu", IMAGE, {"s": normal(1)}, {}, 16),
    "prelu-channels": ("PRelu", IMAGE, {"s": normal(4, 1, 1)}, {}, 16),
    "prelu-columns": ("PRelu", IMAGE, {"s": normal(5)}, {}, 16),
    "prelu-elements": ("PRelu", IMAGE, {"s": normal(1, 4, 6, 5)}, {}, 16),
    "elu": ("Elu", IMAGE, {}, {"alpha": 0.7}, 13),
    "selu": ("Selu", IMAGE, {}, {}, 13),
    "sigmoid": ("Sigmoid", IMAGE, {}, {}, 13),
    "hardsigmoid": ("HardSigmoid", IMAGE, {}, {}, 13),
    "hardsigmoid-sixth": ("HardSigmoid", IMAGE, {}, {"alpha": 1 / 6}, 13),
    "hardswish": ("HardSwish", IMAGE, {}, {}, 14),
    "tanh": ("Tanh", IMAGE, {}, {}, 13),
    "gelu": ("Gelu", IMAGE, {}, {}, 20),
    "gelu-tanh": ("Gelu", IMAGE, {}, {"approximate": "tanh"}, 20),
    "erf": ("Erf", IMAGE, {}, {}, 13),
    "softplus": ("Softplus", IMAGE, {}, {}, 13),
    "softsign": ("Softsign", IMAGE, {}, {}, 13),
    "mish": ("Mish", IMAGE, {}, {}, 18),
    "neg": ("Neg", IMAGE, {}, {}, 13),
    "abs": ("Abs", IMAGE, {}, {}, 13),
    "exp": ("Exp", IMAGE, {}, {}, 13),
    "sqrt-of-some": ("Sqrt", IMAGE, {}, {}, 13),
    "log-of-some": ("Log", IMAGE, {}, {}, 13),
    "reciprocal": ("Reciprocal", IMAGE, {}, {}, 13),
    "softmax-11-flattens": ("Softmax", IMAGE, {}, {}, 11),
    "softmax-11-last": ("Softmax", (1, 7), {}, {}, 11),
    "softmax-13": ("Softmax", IMAGE, {}, {}, 13),
    "softmax-channels": ("Softmax", IMAGE, {}, {"axis": 1}, 13),
    "logsoftmax": ("LogSoftmax", (1, 7), {}, {"axis": 1}, 13),
    "add-number": ("Add", IMAGE, {"c": number(2)}, {}, 14),
    "add-rows": ("Add", IMAGE, {"c": normal(6, 1)}, {}, 14),
    "add-more-axes": ("Add", (1, 5), {"c": normal(1, 3, 1, 1)}, {}, 14),
    "sub": ("Sub", IMAGE, {"c": normal(4, 1, 1)}, {}, 14),
    "mul": ("Mul", IMAGE, {"c": normal(1, 4, 1, 1)}, {}, 14),
    "div-number": ("Div", IMAGE, {"c": number(255)}, {}, 14),
    "div-channels": ("Div", IMAGE, {"c": normal(4, 1, 1)}, {}, 14),
    "pow-2": ("Pow", IMAGE, {"c": number(2)}, {}, 13),
    "pow-3": ("Pow", IMAGE, {"c": number(3)}, {}, 13),
    "min-number": ("Min", IMAGE, {"c": number(0.2)}, {}, 13),
    "max-number": ("Max", IMAGE, {"c": number(0.0)}, {}, 13),
    "max-three": ("Max", IMAGE, {"c": normal(4, 1, 1), "d": normal(6, 5)}, {}, 13),
    "min-channels": ("Min", IMAGE, {"c": normal(4, 1, 1)}, {}, 13),
    "sum-three": ("Sum", IMAGE, {"c": normal(4, 1, 1), "d": normal(6, 5)}, {}, 13),
    "cast-double": ("Cast", IMAGE, {}, {"to": 1}, 13),
    "identity": ("Identity", IMAGE, {}, {}, 13),
    "dropout-9": ("Dropout", IMAGE, {}, {"ratio": 0.5}, 9),
    "dropout-13": ("Dropout", IMAGE, {"r": number(0.5), "t": np.array(False)}, {}, 13),
    "globalaverage": ("GlobalAveragePool", IMAGE, {}, {}, 9),
    "globalmax": ("GlobalMaxPool", IMAGE, {}, {}, 9),
    "globalaverage-1d": ("GlobalAveragePool", (1, 4, 9), {}, {}, 9),
    "mean-attribute": ("ReduceMean", IMAGE, {}, {"axes": [2, 3], "keepdims": 0}, 13),
    "mean-input": ("ReduceMean", IMAGE, {"a": ints(-1, -2)}, {"keepdims": 1}, 18),
    "mean-all": ("ReduceMean", IMAGE, {}, {}, 18),
    "mean-none": ("ReduceMean", IMAGE, {}, {"noop_with_empty_axes": 1}, 18),
    "sum-input": ("ReduceSum", IMAGE, {"a": ints(1)}, {"keepdims": 0}, 13),
    "max-space": ("ReduceMax", IMAGE, {}, {"axes": [2, 3], "keepdims": 0}, 13),
    "max-channels": ("ReduceMax", IMAGE, {}, {"axes": [1]}, 13),
    "min-rows": ("ReduceMin", IMAGE, {}, {"axes": [2]}, 13),
    "l2": ("ReduceL2", IMAGE, {}, {"axes": [1]}, 13),
    "pad-attribute": ("Pad", IMAGE, {}, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, 9),
    "pad-input": ("Pad", IMAGE, {"p": ints(0, 1, 1, 2, 0, 0, 3, 0), "v": number(2)}, {}, 13),
    "pad-axes": ("Pad", IMAGE, {"p": ints(1, 2), "v": number(0), "a": ints(-1)}, {}, 18),
    "pad-crop": ("Pad", IMAGE, {"p": ints(0, 0, -1, 0, 0, 0, 0, -2)}, {}, 13),
    "pad-reflect": ("Pad", IMAGE, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}, {"mode": "reflect"}, 13),
    "pad-edge": ("Pad", IMAGE, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}, {"mode": "edge"}, 13),
    "concat": ("Concat", IMAGE, {"c": normal(1, 2, 6, 5)}, {"axis": 1}, 13),
    "flatten": ("Flatten", IMAGE, {}, {}, 13),
    "flatten-2": ("Flatten", IMAGE, {}, {"axis": 2}, 13),
    "flatten-last": ("Flatten", IMAGE, {}, {"axis": -1}, 13),
    "reshape": ("Reshape", IMAGE, {"s": ints(0, -1, 5)}, {}, 13),
    "reshape-batch": ("Reshape", IMAGE, {"s": ints(-1, 120)}, {}, 13),
    "reshape-moves": ("Reshape", IMAGE, {"s": ints(4, 5, 6)}, {}, 13),
    "transpose": ("Transpose", IMAGE, {}, {"perm": [0, 2, 3, 1]}, 13),
    "transpose-default": ("Transpose", IMAGE, {}, {}, 13),
    "squeeze-attribute": ("Squeeze", (1, 4, 1, 1), {}, {"axes": [2, 3]}, 11),
    "squeeze-input": ("Squeeze", (1, 4, 1, 1), {"a": ints(-1)}, {}, 13),
    "squeeze-all": ("Squeeze", (1, 4, 1, 3), {}, {}, 13),
    "unsqueeze-attribute": ("Unsqueeze", (1, 4), {}, {"axes": [2, 3]}, 11),
    "unsqueeze-input": ("Unsqueeze", (1, 4), {"a": ints(-1, 1)}, {}, 13),
    "upsample": ("Upsample", IMAGE, {"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": "nearest"}, 9),
    "depth-dcr": ("DepthToSpace", IMAGE, {}, {"blocksize": 2}, 13),
    "depth-crd": ("DepthToSpace", IMAGE, {}, {"blocksize": 2, "mode": "CRD"}, 13),
    "space": ("SpaceToDepth", (1, 3, 4, 6), {}, {"blocksize": 2}, 13),
    "gather-one": ("Gather", IMAGE, {"i": np.array(-1, np.int64)}, {"axis": 1}, 13),
    "gather-run": ("Gather", IMAGE, {"i": ints(1, 2, 3)}, {"axis": 2}, 13),
    "gather-some": ("Gather", IMAGE, {"i": ints(3, 0, -1)}, {"axis": 2}, 13),
    "gather-many": ("Gather", (1, 40), {"i": RNG.permutation(40)}, {"axis": 1}, 13),
    "gather-table": ("Gather", IMAGE, {"i": np.array([[0, 1], [2, 1]])}, {"axis": 1}, 13),
    "expand": ("Expand", (1, 4, 1, 1), {"s": ints(1, 1, 3, 2)}, {}, 13),
    "expand-nothing": ("Expand", IMAGE, {"s": ints(1)}, {}, 13),
    "tile": ("Tile", IMAGE, {"r": ints(1, 2, 1, 1)}, {}, 13),
    "batchnorm": (
        "BatchNormalization",
        IMAGE,
        {"g": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4))},
        {"epsilon": 1e-3},
        15,
    ),
    "batchnorm-flat": (
        "BatchNormalization",
        (1, 4),
        {"g": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4))},
        {},
        9,
    ),
    "layernorm": ("LayerNormalization", (1, 3, 8), {"g": normal(8), "b": normal(8)}, {}, 17),
    "instancenorm": ("InstanceNormalization", IMAGE, {"g": normal(4), "b": normal(4)}, {}, 9),
    "gemm": ("Gemm", (1, 5), {"w": normal(3, 5), "b": normal(3)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}, 13),
    "gemm-number": ("Gemm", (1, 5), {"w": normal(5, 3), "b": number(2)}, {}, 13),
    "gemm-no-bias": ("Gemm", (1, 5), {"w": normal(5, 3)}, {}, 13),
    "gemm-transposed": ("Gemm", (1, 5), {"w": normal(1, 3), "b": normal(5, 3)}, {"transA": 1}, 13),
    "matmul": ("MatMul", (1, 4, 5), {"w": normal(5, 3)}, {}, 13),
    "matmul-batched": ("MatMul", (1, 4, 5), {"w": normal(1, 5, 3)}, {}, 13),
    "conv-1d": ("Conv", (1, 4, 9), {"w": normal(6, 2, 3), "b": normal(6)}, {"group": 2, "pads": [2, 1]}, 13),
    "transposed-shape": (
        "ConvTranspose",
        IMAGE,
        {"w": normal(4, 3, 3, 3)},
        {"output_shape": [12, 10], "strides": [2, 2]},
        13,
    ),
    "transposed-same": (
        "ConvTranspose",
        IMAGE,
        {"w": normal(4, 3, 3, 3)},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        13,
    ),
    "transposed-1d": ("ConvTranspose", (1, 4, 9), {"w": normal(4, 2, 3)}, {"strides": [3], "pads": [1, 0]}, 13),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_operator_equals_onnxruntime(case: tuple[str, tuple[int, ...], C, dict[str, Any], int], tmp_path: Path) -> None:
    operator, shape, constants, attributes, opset = case
    path = save(tmp_path / "m.onnx", [one(operator, *constants, **attributes)], shape, constants, opset=opset)
    assert_equal_to_onnxruntime(path, shape)


@pytest.mark.parametrize("attributes", [{"split": [1, 3]}, {}], ids=["sizes", "equal"])
def test_split_by_attribute(attributes: dict[str, Any], tmp_path: Path) -> None:
    node = helper.make_node("Split", ["x"], ["a", "b"], axis=1, **attributes)
    assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", [node], IMAGE, opset=11, outputs="ab"), IMAGE)


def test_split_into_a_number_of_parts_leaves_the_last_smaller(tmp_path: Path) -> None:
    node = helper.make_node("Split", ["x"], ["a", "b"], axis=3, num_outputs=2)
    assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", [node], IMAGE, opset=18, outputs="ab"), IMAGE)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (2,), (1,)),
        ((0, 1), (2**62, -1), (1, -1), (2, 1)),
        ((-1,), (-(2**62),), (1,), (-1,)),
        ((4, 3), (0, -9), (2, 3), (-2, -1)),
    ],
)
def test_slice(starts: Any, ends: Any, axes: Any, steps: Any, tmp_path: Path) -> None:
    constants = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}
    assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", [one("Slice", *constants)], IMAGE, constants), IMAGE)


def test_slice_by_attribute(tmp_path: Path) -> None:
    node = one("Slice", starts=[1, 0], ends=[3, -1], axes=[2, 3])
    assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", [node], IMAGE, opset=9), IMAGE)


@st.composite
def windows(draw: st.DrawFn, *, dilated: bool, pad_below: int = 3, pool: bool = False) -> dict[str, Any]:
    """Attributes of a window over two axes: explicit pads, or auto_pad."""
    pair = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    attributes: dict[str, Any] = {"kernel_shape": draw(pair), "strides": draw(pair)}
    if dilated and draw(st.booleans()):
        attributes["dilations"] = draw(pair)
    modes = ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]
    # onnxruntime refuses, or pads wrongly, dilated windows and pools that leave gaps
    gaps = any(s > k for s, k in zip(attributes["strides"], attributes["kernel_shape"], strict=True))
    mode = draw(st.sampled_from(["NOTSET", "VALID"] if "dilations" in attributes or (pool and gaps) else modes))
    if mode == "NOTSET":
        kernel = attributes["kernel_shape"]
        below = [min(pad_below, k) for k in kernel] * 2
        attributes["pads"] = [draw(st.integers(0, limit - 1)) for limit in below]
    else:
        attributes["auto_pad"] = mode
    return attributes


SIZES = st.tuples(st.just(1), st.just(4), st.integers(7, 10), st.integers(7, 10))


@settings(max_examples=40, deadline=None)
@given(attributes=windows(dilated=True), shape=SIZES, groups=st.sampled_from([1, 2, 4]), bias=st.booleans())
def test_convolution_of_any_window(
    tmp_path_factory: pytest.TempPathFactory, attributes: Any, shape: Any, groups: int, bias: bool
) -> None:
    constants = {"w": normal(8, 4 // groups, *attributes["kernel_shape"])} | ({"b": normal(8)} if bias else {})
    path = tmp_path_factory.mktemp("conv") / "m.onnx"
    save(path, [one("Conv", *constants, group=groups, **attributes)], shape, constants)
    assert_equal_to_onnxruntime(path, shape)


@settings(max_examples=40, deadline=None)
@given(
    attributes=windows(dilated=True, pad_below=2),
    shape=SIZES,
    groups=st.sampled_from([1, 2]),
    extra=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_transposed_convolution_of_any_window(
    tmp_path_factory: pytest.TempPathFactory, attributes: Any, shape: Any, groups: int, extra: tuple[int, int]
) -> None:
    assume("auto_pad" not in attributes)
    assume(all(e < s for e, s in zip(extra, attributes["strides"], strict=True)))
    constants = {"w": normal(4, 3, *attributes["kernel_shape"]), "b": normal(3 * groups)}
    path = tmp_path_factory.mktemp("deconv") / "m.onnx"
    node = one("ConvTranspose", *constants, group=groups, output_padding=extra, **attributes)
    save(path, [node], shape, constants)
    assert_equal_to_onnxruntime(path, shape)


@settings(max_examples=40, deadline=None)
@given(attributes=windows(dilated=True, pool=True), shape=SIZES, ceil=st.integers(0, 1))
def test_max_pool_of_any_window(
    tmp_path_factory: pytest.TempPathFactory, attributes: Any, shape: Any, ceil: int
) -> None:
    path = tmp_path_factory.mktemp("max") / "m.onnx"
    save(path, [one("MaxPool", ceil_mode=ceil, **attributes)], shape)
    assert_equal_to_onnxruntime(path, shape)


@settings(max_examples=40, deadline=None)
@given(attributes=windows(dilated=False, pool=True), shape=SIZES, ceil=st.integers(0, 1), include=st.integers(0, 1))
def test_average_pool_of_any_window(
    tmp_path_factory: pytest.TempPathFactory, attributes: Any, shape: Any, ceil: int, include: int
) -> None:
    path = tmp_path_factory.mktemp("mean") / "m.onnx"
    save(path, [one("AveragePool", ceil_mode=ceil, count_include_pad=include, **attributes)], shape)
    assert_equal_to_onnxruntime(path, shape)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    target=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from(["nearest", "linear"]),
    coordinates=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
)
def test_resize_equals_onnxruntime_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, size: Any, target: Any, mode: str, coordinates: str, rounding: str
) -> None:
    constants = {"sizes": ints(1, 2, *target)}
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    path = save(tmp_path_factory.mktemp("resize") / "m.onnx", [node], (1, 2, *size), constants)
    try:
        assert_equal_to_onnxruntime(path, (1, 2, *size))
    except NdtoolError as error:
        assert "PyTorch can" in str(error)  # noqa: PT017
        # A single row or column lies at 0 for ONNX's pytorch_half_pixel, in the middle for PyTorch.
        single = coordinates == "pytorch_half_pixel" and 1 in target
        assert coordinates == "asymmetric" or mode == "nearest" or single


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_doubling_nearest_is_supported_whatever_the_coordinates(coordinates: str, tmp_path: Path) -> None:
    constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], coordinate_transformation_mode=coordinates, nearest_mode="floor"
    )
    if coordinates == "half_pixel":
        del node.attribute[1]
    assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", [node], IMAGE, constants), IMAGE)


def test_hard_swish_written_as_a_product_becomes_one_operator(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("HardSigmoid", ["x"], ["g"], alpha=1 / 6),
        helper.make_node("Mul", ["x", "g"], ["y"]),
    ]
    module = assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", nodes, IMAGE, opset=13), IMAGE)
    assert torch.nn.functional.hardswish in {node.target for node in module.graph.nodes}


def test_two_transposes_that_cancel_leave_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["u"], ["y"]),
    ]
    module = assert_equal_to_onnxruntime(save(tmp_path / "m.onnx", nodes, IMAGE), IMAGE)
    assert torch.permute not in {node.target for node in module.graph.nodes}
