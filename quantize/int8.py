"""Full-integer int8 of a float32 TFLite file: int8 in, inside and out, weights per channel."""

from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.files import write_atomic
from ndtool.quantize.floats import float_operators
from ndtool.quantize.quiet import quiet
from ndtool.quantize.ranges import Ranges
from ndtool.quantize.stand_ins import disguise, undisguise
from ndtool.quantize.tflite import is_constant, is_integer, name_of, read_model, type_of, write_model
from ndtool.quantize.unsupported import UnsupportedOperators


def quantize_int8(float_model: Path, ranges: Ranges, out: Path) -> None:
    """Quantise a float32 TFLite file by given ranges; the same file and ranges give the same bytes.

    Activations get one scale and zero point a tensor, weights one scale a channel and zero point 0, biases int32.

    Args:
        float_model: a .tflite file in float32.
        ranges: of every computed tensor, from `ranges.calibrate` or from training.
        out: written whole, or not at all.

    Raises:
        NdtoolError: the file is quantised already, or a tensor has no range.
        UnsupportedOperators: operators that would stay in float, all of them.
    """
    model = read_model(float_model)
    if is_integer(model):
        raise NdtoolError(f"{float_model} is quantised already: give the float32 model")
    _check_names(model, ranges, float_model)
    truth = disguise(model)
    quantised = read_model(_run_quantizer(write_model(model), ranges, float_model))
    undisguise(quantised, truth)
    if findings := float_operators(quantised):
        raise UnsupportedOperators(str(float_model), findings)
    write_atomic(out, write_model(quantised))


def _run_quantizer(model: bytes, ranges: Ranges, name: Path) -> bytes:
    with quiet():
        from ai_edge_quantizer import quantizer, recipe

        observed = {tensor: {"min": _array(low), "max": _array(high)} for tensor, (low, high) in ranges.items()}
        try:
            tool = quantizer.Quantizer(bytearray(model), recipe.static_wi8_ai8())
            result = tool.quantize(observed, enable_progress_bar=False, enable_progress_report=False)
        except (ValueError, RuntimeError, NotImplementedError, KeyError, IndexError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise NdtoolError(f"{name}: ai-edge-quantizer cannot quantise it: {line}") from error
    return bytes(result.quantized_model)


def _array(value: float) -> np.ndarray:
    return np.array([value], dtype=np.float32)


def _check_names(model: Any, ranges: Ranges, path: Path) -> None:
    """Ranges go by name: every computed float tensor needs one, and a name of its own."""
    graph = model.subgraphs[0]
    indices = {*map(int, graph.inputs), *(int(index) for op in graph.operators for index in op.outputs)}
    names = [name_of(graph.tensors[i]) for i in sorted(indices) if type_of(graph.tensors[i]) == "FLOAT32"]
    constants = {name_of(tensor) for tensor in graph.tensors if is_constant(model, tensor)}
    if twice := sorted({name for name in names if names.count(name) > 1 or name in constants}):
        raise NdtoolError(f"{path}: two tensors are called {twice[0]!r}: export it again with distinct names")
    if missing := [name for name in names if name not in ranges]:
        raise NdtoolError(f"{path}: tensor {missing[0]!r} has no range ({len(missing)} in all): calibrate on data")
