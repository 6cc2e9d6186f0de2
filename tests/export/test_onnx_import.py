"""Whole ONNX files: from exporters of every age, dynamic, channels last, broken, hostile."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.onnx_import import load_onnx
from ndtool.export.onnx_import.operators import CONVERTERS


class Residual(nn.Module):
    """Convolutions with every common trimming: batch norm, residual, squeeze-excite, concatenation, view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(16 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.bn(self.depthwise(nn.functional.hardswish(x)))
        x = x + y * self.squeeze(y)
        a, b = x.chunk(2, dim=1)
        x = self.pool(torch.cat([a, nn.functional.silu(b), x], dim=1))
        return torch.softmax(self.head(x.view(x.size(0), -1)), dim=1)


def randomised(model: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


def export(model: nn.Module, shape: tuple[int, ...], path: Path, **options: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated
        torch.onnx.export(model, (torch.zeros(shape),), path, verbose=False, **options)
    return path


def assert_equals(module: nn.Module, model: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


def small(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: object = (1, 3)) -> Path:
    """A checked file from input `x` to output `y`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    graph.output[0].type.tensor_type.shape.dim.add().dim_param = "?"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def residual() -> nn.Module:
    torch.manual_seed(0)
    return randomised(Residual())


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_files_of_the_older_exporter(residual: nn.Module, opset: int, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=False, opset_version=opset)
    module = load_onnx(path)
    assert_equals(module, residual, (1, 3, 16, 16))
    assert not module.training


@pytest.mark.parametrize("opset", [18, 23])
def test_files_of_the_newer_exporter(residual: nn.Module, opset: int, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=True, opset_version=opset)
    assert_equals(load_onnx(path), residual, (1, 3, 16, 16))


def test_shape_arithmetic_of_a_dynamic_batch_folds_and_larger_batches_still_work(
    residual: nn.Module, tmp_path: Path
) -> None:
    path = export(
        residual,
        (2, 3, 16, 16),
        tmp_path / "m.onnx",
        dynamo=False,
        opset_version=13,
        do_constant_folding=False,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch"}},
    )
    assert {"Shape", "Gather", "Reshape"} <= {node.op_type for node in onnx.load(path).graph.node}
    module = load_onnx(path)
    assert module.meta["input_shape"] == (1, 3, 16, 16)
    assert module.meta["any_batch"]
    assert_equals(module, residual, (4, 3, 16, 16))


def test_a_size_left_open_is_taken_from_the_caller_or_asked_for(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    axes = {"x": {0: "n", 2: "h", 3: "w"}}
    path = export(
        model, (1, 3, 8, 8), tmp_path / "m.onnx", dynamo=False, opset_version=13, input_names=["x"], dynamic_axes=axes
    )
    assert_equals(load_onnx(path, input_shape=(3, 10, 12)), model, (1, 3, 10, 12))
    with pytest.raises(NdtoolError, match=r"size of input 'x' \(n, 3, h, w\) is not fixed: export"):
        load_onnx(path)
    with pytest.raises(NdtoolError, match=r"takes \(n, 3, h, w\), not \(1, 10, 12\)"):
        load_onnx(path, input_shape=(1, 10, 12))


def test_a_fixed_batch_becomes_one_where_the_model_allows_it(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    path = export(model, (8, 3, 6, 6), tmp_path / "m.onnx", dynamo=False, opset_version=13)
    assert_equals(load_onnx(path), model, (1, 3, 6, 6))


def test_node_names_are_kept(residual: nn.Module, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=False, opset_version=13)
    names = {node.meta["onnx_node"]: node.name for node in load_onnx(path).graph.nodes if "onnx_node" in node.meta}
    assert names["/depthwise/Conv"] == "depthwise_Conv"
    assert names["/head/Gemm"] == "head_Gemm"


def test_layers_have_parameters_that_can_be_trained(residual: nn.Module, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=False, opset_version=13)
    module = load_onnx(path)
    module(torch.randn(1, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def tensorflow_style(path: Path, *, normalise: bool) -> Path:
    """As tf2onnx writes: NHWC input, Transpose, convolution with SAME padding, pools, MatMul and Add at the end."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    constants = {"w": weights(4, 3, 3, 3), "b": weights(4), "m": weights(64, 5), "c": weights(5)}
    constants |= {"std": np.array([0.2, 0.3, 0.4], np.float32), "s": np.array([-1, 64], np.int64)}
    constants |= {"axes": np.array([0], np.int64)}
    first = (
        [helper.make_node("Mul", ["x", "std"], ["n"])] if normalise else [helper.make_node("Identity", ["x"], ["n"])]
    )
    nodes = [
        *first,
        helper.make_node("Transpose", ["n"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "b"], ["k"], auto_pad="SAME_UPPER", strides=[2, 2], name="conv"),
        helper.make_node("Relu", ["k"], ["r"]),
        helper.make_node("Transpose", ["r"], ["u"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["u", "s"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["q"]),
        helper.make_node("Softmax", ["q"], ["y"], axis=1),
    ]
    return small(path, nodes, constants, ("n", 8, 8, 3))


@pytest.mark.parametrize("normalise", [False, True])
def test_channels_last_input_is_taken_channels_first(normalise: bool, tmp_path: Path) -> None:
    path = tensorflow_style(tmp_path / "m.onnx", normalise=normalise)
    module = load_onnx(path, input_shape=(3, 8, 8))
    assert module.meta["input_shape"] == (1, 3, 8, 8)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = module(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy()
    np.testing.assert_allclose(got, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-6)


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    module = load_onnx(path)
    x = torch.randn(1, 3)
    torch.testing.assert_close(module(x), x @ torch.from_numpy(weight.astype(np.float32)))


def test_several_outputs_are_a_tuple(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.relu(), x.tanh()

    path = export(Two(), (1, 4), tmp_path / "m.onnx", dynamo=False, opset_version=13)
    x = torch.randn(1, 4)
    torch.testing.assert_close(load_onnx(path)(x), (x.relu(), x.tanh()))


def test_every_unsupported_operator_is_named_with_reason_and_remedy(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="fine"),
        helper.make_node("Cast", ["x"], ["i"], name="casts", to=TensorProto.INT64),
        helper.make_node("ArgMax", ["b"], ["c"], name="last"),
        helper.make_node("Reshape", ["b", "i"], ["y"], name="depends"),
        helper.make_node("TopK", ["b", "i"], ["unused"], name="not needed"),
    ]
    nodes[4] = helper.make_node("Reshape", ["b", "c"], ["y"], name="depends")
    nodes[3] = helper.make_node("ArgMax", ["i"], ["c"], name="last", keepdims=0)
    del nodes[5]
    path = small(tmp_path / "m.onnx", nodes, {})
    with pytest.raises(NdtoolError) as caught:
        load_onnx(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: 3 operators are not supported:")
    assert "Det 'first': it has no converter: replace it before export" in text
    assert "Cast 'casts': it makes integers or truth values" in text
    assert "ArgMax 'last': it is post-processing, not a layer: cut the model before it" in text
    assert "fine" not in text
    assert "depends" not in text


def test_quantised_models_are_refused_with_a_remedy(tmp_path: Path) -> None:
    constants = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q0"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="d0"),
    ]
    with pytest.raises(NdtoolError, match="QuantizeLinear 'q0': the model is quantised already: give the float model"):
        load_onnx(small(tmp_path / "m.onnx", nodes, constants))


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {})
    model = onnx.load(path)
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    with pytest.raises(NdtoolError, match=r"domain 'com\.microsoft' are not standard: export the model with"):
        load_onnx(path)


def test_weights_computed_from_the_input_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["w"], name="t", perm=[1, 0, 2, 3]),
        helper.make_node("Conv", ["x", "w"], ["y"], name="dynamic"),
    ]
    with pytest.raises(NdtoolError, match="Conv 'dynamic': its weight is computed from the input: make the weight"):
        load_onnx(small(tmp_path / "m.onnx", nodes, {}, (1, 1, 4, 4)))


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))


def _integer_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def _old_operators(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 7


def _constant_output(model: onnx.ModelProto) -> None:
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["w"], ["y"]))


def _disagreeing_shapes(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_two_inputs, r"has 2 inputs \(x, z\), one is supported: "),
        (_integer_input, "input 'x' is INT64, not float: "),
        (_old_operators, "operator set 7 is too old: convert it to 9"),
        (_constant_output, "output 'y' does not depend on the input: remove it"),
        (_disagreeing_shapes, "MatMul 'm': PyTorch refuses it"),
    ],
)
def test_what_cannot_be_converted_is_one_clear_line(
    change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
) -> None:
    path = small(
        tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": np.ones((3, 2), "f")}
    )
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(NdtoolError, match=message) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07\x12", b"\x00" * 100])
def test_files_that_are_no_models_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(NdtoolError, match=re.escape(str(path))) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match=r"absent\.onnx: no such file"):
        load_onnx(tmp_path / "absent.onnx")


def test_weights_in_a_file_beside_it_are_read_and_missed(residual: nn.Module, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=True, external_data=True)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert_equals(load_onnx(path), residual, (1, 3, 16, 16))
    data = tmp_path / "m.data"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(NdtoolError, match=re.escape(str(path))):
        load_onnx(path)
    data.unlink()
    with pytest.raises(NdtoolError, match=r"m\.data"):
        load_onnx(path)


def test_weights_outside_the_folder_of_the_file_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 24)
    path = small(folder / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((3, 2), "f")})
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NdtoolError, match=re.escape(str(path))):
        load_onnx(path)


def test_a_constant_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    constants = {"s": np.array([1 << 20, 1 << 20, 3], np.int64)}
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["big"], name="bomb"),
        helper.make_node("Add", ["x", "big"], ["y"]),
    ]
    with pytest.raises(NdtoolError, match="ConstantOfShape 'bomb': it makes a constant of more than"):
        load_onnx(small(tmp_path / "m.onnx", nodes, constants))


def test_doubling_a_constant_again_and_again_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    nodes += [helper.make_node("ReduceSum", ["c40"], ["s"]), helper.make_node("Add", ["x", "s"], ["y"])]
    with pytest.raises(NdtoolError, match="it makes a constant of more than"):
        load_onnx(small(tmp_path / "m.onnx", nodes, {"c0": np.ones(1 << 20, np.float32)}))


def test_an_input_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "m.onnx", [helper.make_node("GlobalMaxPool", ["x"], ["y"])], {}, (1, 3, 1 << 20, 1 << 20))
    with pytest.raises(NdtoolError, match=r"input 'x' .* is too large"):
        load_onnx(path)


def test_a_resize_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], name="blow up")
    path = small(tmp_path / "m.onnx", [node], {"s": np.array([1, 1, 1 << 20, 1 << 20])}, (1, 1, 4, 4))
    with pytest.raises(NdtoolError, match=r"Resize 'blow up': its result .* is too large"):
        load_onnx(path)


@pytest.fixture(scope="module")
def plain_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tensorflow_style(tmp_path_factory.mktemp("plain") / "m.onnx", normalise=True)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_end_in_another_exception(plain_file: bytes, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(plain_file)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        load_onnx(path)
    except NdtoolError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


def to_tflite(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own dependencies
        import litert_torch

        example = torch.zeros(module.meta["input_shape"]).permute(0, 2, 3, 1)
        channels_last = litert_torch.to_channel_last_io(module, args=[0]).eval()
        litert_torch.convert(channels_last, (example,)).export(str(path))
    return path


def assert_tflite_equals(module: nn.Module, path: Path) -> None:
    from ndtool.quantize.runtime import TFLiteModel

    x = torch.randn(module.meta["input_shape"], generator=torch.Generator().manual_seed(5))
    (got,) = TFLiteModel(to_tflite(module, path)).run(x.permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_modules_become_equal_tflite_files(residual: nn.Module, tmp_path: Path) -> None:
    path = export(residual, (1, 3, 16, 16), tmp_path / "m.onnx", dynamo=False, opset_version=11)
    assert_tflite_equals(load_onnx(path), tmp_path / "m.tflite")
    path = tensorflow_style(tmp_path / "tf.onnx", normalise=False)
    assert_tflite_equals(load_onnx(path), tmp_path / "tf.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "densenet121",
        "resnet18",
        "mnasnet0_5",
    ],
)
def test_networks_of_torchvision(name: str, dynamo: bool, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = randomised(getattr(torchvision.models, name)(weights=None))
    path = export(model, (1, 3, 64, 64), tmp_path / "m.onnx", dynamo=dynamo)
    module = load_onnx(path)
    assert_equals(module, model, (1, 3, 64, 64))
    if not dynamo:
        assert_tflite_equals(module, tmp_path / "m.tflite")


def test_the_documentation_lists_the_operators() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "formats.md").read_text(encoding="utf-8")
    listed = re.search(r"^Operators: ([^.]*)\.", text, re.MULTILINE)
    assert listed
    assert set(re.split(r",\s+", listed[1])) == set(CONVERTERS)
