"""Load an ONNX file: read, convert, and judge the result by onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from torch import fx

from ndtool.errors import NdtoolError, first_line
from ndtool.export.onnx_import.build import build
from ndtool.export.onnx_import.reader import OnnxGraph, read_onnx

TOLERANCE = 1e-4  # of the largest output
HALF_TOLERANCE = 2e-2  # where the file computes in float16

_ORT_ERRORS = tuple(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception))


def load_onnx(path: Path, *, input_shape: tuple[int, ...] | None = None) -> fx.GraphModule:
    """An ONNX file as a PyTorch module in evaluation mode, equal to what onnxruntime computes.

    Args:
        path: a file of operator set 9 or later with one float input; weights may lie in files beside it.
        input_shape: without batch, (C, H, W) for images: needed where the file leaves sizes open.

    Returns:
        A module from float32 (1, ...) to the output, or a tuple of them. Shapes are static. Images are (N, C, H, W)
        even where the file takes (N, H, W, C) and transposes them at once. Each fx node has the ONNX node's name in
        `meta["onnx_node"]`. `module.meta` holds `input_shape` (with batch 1) and `any_batch`: whether larger batches
        give the same (tried).

    Raises:
        NdtoolError: the file is malformed, has operators that are not supported (all are named), or the module
            does not compute what onnxruntime does.
    """
    graph = read_onnx(Path(path), input_shape)
    module = build(graph)
    samples = _samples(graph)
    results = [_compare(graph, module, sample) for sample in samples]
    module.meta["input_shape"] = tuple(samples[0].shape)
    module.meta["any_batch"] = _takes_batches(module, samples, results)
    return module


def _samples(graph: OnnxGraph) -> list[torch.Tensor]:
    """Random inputs: around zero, and positive as pixels are."""
    n, *rest = graph.input_shape
    shape = (n, rest[-1], *rest[:-1]) if graph.channels_last else (n, *rest)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)]


def _compare(graph: OnnxGraph, module: fx.GraphModule, sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    expected = _run_onnxruntime(graph, sample)
    got = _run(module, sample)
    tolerance = HALF_TOLERANCE if _computes_in_half(graph) else TOLERANCE
    for name, ours, theirs in zip(graph.outputs, got, expected, strict=True):
        if ours.shape != theirs.shape:
            raise NdtoolError(
                f"{graph.path}: output {name!r} has shape {theirs.shape} in onnxruntime, {tuple(ours.shape)} here: "
                "give the original model instead"
            )
        difference, size = _difference(ours.numpy(), theirs)
        if not difference <= tolerance * size + 1e-9:
            raise NdtoolError(
                f"{graph.path}: output {name!r} differs from onnxruntime's by {difference:.3g} "
                f"(largest value {size:.3g}): give the original model instead"
            )
    return got


def _difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference, infinite where one of both is not finite, and the largest finite value."""
    theirs = theirs.astype(np.float32)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf"), 0.0
    if not finite.any():
        return 0.0, 0.0
    return float(np.abs(ours[finite] - theirs[finite]).max()), float(np.abs(theirs[finite]).max())


def _computes_in_half(graph: OnnxGraph) -> bool:
    return graph.input_dtype == np.float16 or any(value.dtype == np.float16 for value in graph.constants.values())


def _run_onnxruntime(graph: OnnxGraph, sample: torch.Tensor) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # as the file says, without rewrites
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = sample.permute(0, 2, 3, 1) if graph.channels_last else sample
    feed = {graph.input: np.ascontiguousarray(x.numpy().astype(graph.input_dtype))}
    try:
        session = onnxruntime.InferenceSession(
            graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session.run(None, feed)
    except _ORT_ERRORS as error:
        reason = first_line(error).split(" : ", 3)[-1]  # after onnxruntime's name and codes
        raise NdtoolError(f"{graph.path}: onnxruntime cannot run it with batch 1: {reason}") from error


def _run(module: fx.GraphModule, sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        result = module(sample)
    return result if isinstance(result, tuple) else (result,)


def _takes_batches(
    module: fx.GraphModule, samples: list[torch.Tensor], results: list[tuple[torch.Tensor, ...]]
) -> bool:
    try:
        together = _run(module, torch.cat(samples))
    except (RuntimeError, ValueError, IndexError):
        return False
    for got, *singles in zip(together, *results, strict=True):
        expected = torch.cat(singles) if singles[0].ndim else singles[0]
        if got.shape != expected.shape or not torch.allclose(got, expected, rtol=1e-3, atol=1e-5, equal_nan=True):
            return False
    return True
