"""TFLite files run on the host, by ai-edge-litert or, on small boards, by tflite-runtime."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.quantize.quiet import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor at a model's end. `scale` is 0.0 where the tensor is not quantised (per tensor)."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int


class TFLiteModel:
    """A loaded TFLite model.

    `reference` selects LiteRT's reference kernels, whose integer arithmetic a microcontroller can match bit for bit;
    otherwise the optimised ones run. `keep_tensors` keeps every intermediate tensor readable after a run.
    """

    def __init__(self, model: Path | bytes, *, reference: bool = False, keep_tensors: bool = False, threads: int = 1):
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        runtime = _runtime()
        resolver = runtime.OpResolverType.BUILTIN_REF if reference else runtime.OpResolverType.AUTO
        try:
            with quiet():  # it announces its delegate
                self._interpreter = runtime.Interpreter(
                    **source,
                    num_threads=threads,
                    experimental_op_resolver_type=resolver,
                    experimental_preserve_all_tensors=keep_tensors,
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            name = "the model" if isinstance(model, bytes) else model
            raise NdtoolError(f"{name}: LiteRT cannot run it: {str(error).splitlines()[0]}") from error
        self.inputs = tuple(_info(detail) for detail in self._interpreter.get_input_details())
        self.outputs = tuple(_info(detail) for detail in self._interpreter.get_output_details())

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run once; each input has its tensor's shape and dtype. Returns a copy of every output."""
        for info, value in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(info.index, value)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(info.index) for info in self.outputs)

    def tensor(self, index: int) -> np.ndarray:
        """A copy of one tensor after a run; intermediate ones need `keep_tensors`."""
        return self._interpreter.get_tensor(index)

    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor of the main subgraph that has a name."""
        return tuple(_info(detail) for detail in self._interpreter.get_tensor_details() if detail["name"])


def to_tensor(values: np.ndarray, info: TensorInfo) -> np.ndarray:
    """Real values as a tensor's own type; integers as LiteRT's QUANTIZE gives them."""
    if info.dtype.kind == "f" or not info.scale:
        return np.ascontiguousarray(values, dtype=info.dtype)
    return quantise(values, info.scale, info.zero_point, info.dtype)


def quantise(
    values: np.ndarray, scale: float, zero_point: int, dtype: np.dtype[Any] | type[np.generic] = np.int8
) -> np.ndarray:
    """Real numbers as integers, bit for bit as LiteRT's QUANTIZE: divided in float32, halves away from zero, clipped.

    Adding a half and truncating would not do: in float32 the sum itself is rounded. NaN gives the zero point.
    """
    limits = np.iinfo(dtype)
    steps = np.nan_to_num(values.astype(np.float32) / np.float32(scale)).astype(np.float64)
    whole = np.trunc(steps)
    rounded = whole + (steps - whole >= 0.5) - (steps - whole <= -0.5)
    return np.clip(rounded + zero_point, limits.min, limits.max).astype(dtype)


def to_real(values: np.ndarray, info: TensorInfo) -> np.ndarray:
    """A tensor's values as float32: real = scale * (q - zero point) where it is quantised."""
    if values.dtype.kind == "f" or not info.scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - np.float32(info.zero_point)) * np.float32(info.scale)


def _runtime() -> ModuleType:
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        try:
            from tflite_runtime import interpreter
        except ImportError:
            message = "no TFLite runtime is installed: pip install ai-edge-litert (or tflite-runtime)"
            raise NdtoolError(message) from None
    return interpreter


def _info(detail: dict[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    return TensorInfo(
        index=detail["index"],
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
