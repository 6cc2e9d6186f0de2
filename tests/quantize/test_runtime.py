"""TFLite files on the host, whichever runtime is installed."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from ndtool.errors import NdtoolError
from ndtool.quantize.runtime import TFLiteModel

SCALE, ZERO_POINT = 0.5, 3
X = np.array([[-128, 0, 3, 127]], np.int8)
REAL = (X.astype(np.float32) - ZERO_POINT) * SCALE


def tensor(name: str, kind: int) -> schema.TensorT:
    result = schema.TensorT()
    result.name, result.shape, result.type, result.buffer = name, [1, 4], kind, 0
    return result


def operator(code: int, source: int, target: int) -> schema.OperatorT:
    result = schema.OperatorT()
    result.opcodeIndex, result.inputs, result.outputs = code, [source], [target]
    return result


@pytest.fixture(scope="module")
def model() -> bytes:
    """int8 `x`, dequantised to `middle`, negated to `y`."""
    x = tensor("x", schema.TensorType.INT8)
    x.quantization = schema.QuantizationParametersT()
    x.quantization.scale, x.quantization.zeroPoint = [SCALE], [ZERO_POINT]
    graph = schema.SubGraphT()
    graph.tensors = [x, tensor("middle", schema.TensorType.FLOAT32), tensor("y", schema.TensorType.FLOAT32)]
    graph.inputs, graph.outputs = [0], [2]
    graph.operators = [operator(0, 0, 1), operator(1, 1, 2)]
    codes = [schema.OperatorCodeT(), schema.OperatorCodeT()]
    for code, builtin in zip(codes, (schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.NEG), strict=True):
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 2 if builtin == schema.BuiltinOperator.DEQUANTIZE else 1
    result = schema.ModelT()
    result.version, result.operatorCodes, result.subgraphs, result.buffers = 3, codes, [graph], [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(result.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class OldInterpreter:
    """An interpreter that takes what tflite-runtime 2.14 takes, and no more."""

    made: list["OldInterpreter"]

    def __init__(
        self,
        model_path: str | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Any = None,
        num_threads: int | None = None,
        experimental_op_resolver_type: Any = None,
        experimental_preserve_all_tensors: bool = False,
    ):
        self.made.append(self)
        self._inner = litert.Interpreter(
            model_path=model_path,
            model_content=model_content,
            num_threads=num_threads,
            experimental_op_resolver_type=experimental_op_resolver_type,
            experimental_preserve_all_tensors=experimental_preserve_all_tensors,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def install(monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType | None) -> None:
    """Make `import name` find this module, or nothing."""
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, f"{name}.interpreter", getattr(module, "interpreter", None))


@pytest.fixture
def only_tflite_runtime(monkeypatch: pytest.MonkeyPatch) -> list[OldInterpreter]:
    """An environment with tflite-runtime and without ai-edge-litert; the interpreters made in it."""
    package = ModuleType("tflite_runtime")
    package.interpreter = SimpleNamespace(Interpreter=OldInterpreter, OpResolverType=litert.OpResolverType)
    OldInterpreter.made = []
    install(monkeypatch, "ai_edge_litert", None)
    install(monkeypatch, "tflite_runtime", package)
    return OldInterpreter.made


@pytest.mark.parametrize("reference", [False, True])
def test_a_model_runs_and_says_what_it_takes(model: bytes, reference: bool) -> None:
    loaded = TFLiteModel(model, reference=reference)
    (entry,) = loaded.inputs
    assert (entry.name, entry.shape, entry.dtype) == ("x", (1, 4), np.int8)
    assert (entry.scale, entry.zero_point) == (SCALE, ZERO_POINT)
    assert loaded.outputs[0].scale == 0.0
    np.testing.assert_array_equal(loaded.run(X)[0], -REAL)


def test_a_result_does_not_change_when_the_model_runs_again(model: bytes) -> None:
    loaded = TFLiteModel(model)
    (first,) = loaded.run(X)
    loaded.run(np.zeros_like(X))
    np.testing.assert_array_equal(first, -REAL)


def test_tflite_runtime_serves_where_it_is_what_is_installed(
    model: bytes, only_tflite_runtime: list[OldInterpreter]
) -> None:
    loaded = TFLiteModel(model, reference=True, keep_tensors=True, threads=2)
    np.testing.assert_array_equal(loaded.run(X)[0], -REAL)
    (middle,) = [info for info in loaded.tensors() if info.name == "middle"]
    np.testing.assert_array_equal(loaded.tensor(middle.index), REAL)
    assert len(only_tflite_runtime) == 1


def test_ai_edge_litert_is_preferred(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tflite_runtime", None)
    np.testing.assert_array_equal(TFLiteModel(model).run(X)[0], -REAL)


def test_without_any_runtime_the_packages_are_named(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "ai_edge_litert", None)
    install(monkeypatch, "tflite_runtime", None)
    with pytest.raises(NdtoolError, match=r"no TFLite runtime is installed: pip install ai-edge-litert"):
        TFLiteModel(model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3"])
def test_what_is_no_model_is_one_clear_line(content: bytes) -> None:
    with pytest.raises(NdtoolError, match="LiteRT cannot run it") as caught:
        TFLiteModel(content)
    assert "\n" not in str(caught.value)
