"""What int8 loses, layer by layer: the signal-to-quantisation-noise ratio (SQNR) of each layer's output."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.quantize.ranges import Progress, check_samples
from ndtool.quantize.runtime import TFLiteModel, to_real, to_tensor
from ndtool.quantize.tflite import (
    is_constant,
    kind_of,
    name_of,
    operands,
    quantisation,
    read_model,
    type_of,
    write_model,
)

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
_PARTS = ("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "GATHER", "GATHER_ND", "PAD", "PADV2")
_MOVES = frozenset((*_CONVERSIONS, *_RESHAPES, *_PARTS))  # lose nothing of their own: they stand in no row


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFidelity:
    """One layer of the int8 model against the float32 model, over all samples.

    SQNR = 10 log10(sum of x² / sum of (x - x')²) in dB, x the float32 output, x' the dequantised int8 output; about
    6 dB a bit, infinite where nothing is lost.
    """

    name: str  # of the output tensor
    kind: str  # TFLite operator
    shape: tuple[int, ...]
    sqnr_db: float  # in the whole model: what this layer and all before it have lost
    local_db: float  # of this layer alone: x is what it makes in float32 of the int8 inputs


def per_layer(
    float_model: Path | bytes, int8_model: Path | bytes, samples: np.ndarray, *, progress: Progress | None = None
) -> list[LayerFidelity]:
    """Rank the layers of an int8 model by what int8 loses in them, worst first (by `local_db`).

    Args:
        float_model: the float32 TFLite file that the int8 file was made from: tensors are matched by name.
        int8_model: the int8 TFLite file; it runs on LiteRT's reference kernels.
        samples: (N, ...) float32, N >= 1, in the layout of the model's input without its batch.
        progress: called with (samples done, samples).

    Raises:
        NdtoolError: the files do not belong together, or the samples do not fit.
    """
    pair = _Pair(read_model(float_model), read_model(int8_model))
    layers = [layer for op in pair.int8.subgraphs[0].operators if (layer := _layer(pair, op)) is not None]
    if not layers:
        raise NdtoolError("the int8 model has no layer of the float32 model: give the file that it was made from")
    exact = TFLiteModel(float_model, keep_tensors=True)
    whole = TFLiteModel(int8_model, reference=True, keep_tensors=True)
    check_samples(exact, samples)
    for done, sample in enumerate(samples, start=1):
        x = np.ascontiguousarray(sample[None], dtype=np.float32)
        exact.run(x)
        whole.run(to_tensor(x, whole.inputs[0]))
        for layer in layers:
            layer.compare(exact, whole)
        if progress is not None:
            progress(done, len(samples))
    return sorted((layer.row() for layer in layers), key=lambda row: (row.local_db, row.sqnr_db, row.name))


class _Pair:
    """The float32 and the int8 model, and where the first has each tensor by name."""

    def __init__(self, exact: Any, int8: Any):
        self.exact, self.int8 = exact, int8
        self.index = {name_of(tensor): index for index, tensor in enumerate(exact.subgraphs[0].tensors)}
        self.writer = {name_of(exact.subgraphs[0].tensors[op.outputs[0]]): op for op in exact.subgraphs[0].operators}


class _Layer:
    """An operator of the int8 model, in its place and on its own, and the sums that its SQNR is made of."""

    def __init__(self, pair: _Pair, op: Any, sources: list[str]):
        self._output = pair.int8.subgraphs[0].tensors[op.outputs[0]]
        self._kind = kind_of(pair.int8, op)
        self._int8_index, self._index = int(op.outputs[0]), pair.index[name_of(self._output)]
        self._sources = [pair.index[name] for name in sources]  # the float32 tensors that it reads
        self._alone = TFLiteModel(_single(pair.int8, op), reference=True)
        self._exact_alone = TFLiteModel(_single(pair.exact, pair.writer[name_of(self._output)]))
        self._signal = self._noise = self._local_signal = self._local_noise = 0.0

    def compare(self, exact: TFLiteModel, whole: TFLiteModel) -> None:
        """Add one sample, after both models ran on it."""
        x = exact.tensor(self._index).astype(np.float64)
        self._signal += float(np.square(x).sum())
        self._noise += float(np.square(x - self._real(whole.tensor(self._int8_index))).sum())
        ends = zip(self._alone.inputs, self._sources, strict=True)
        inputs = [(to_tensor(exact.tensor(index), info), info) for info, index in ends]
        local = self._real(self._alone.run(*(values for values, _ in inputs))[0])
        want = self._exact_alone.run(*(to_real(values, info) for values, info in inputs))[0].astype(np.float64)
        self._local_signal += float(np.square(want).sum())
        self._local_noise += float(np.square(want - local).sum())

    def row(self) -> LayerFidelity:
        return LayerFidelity(
            name=name_of(self._output),
            kind=self._kind,
            shape=tuple(int(size) for size in self._output.shape),
            sqnr_db=_decibels(self._signal, self._noise),
            local_db=_decibels(self._local_signal, self._local_noise),
        )

    def _real(self, values: np.ndarray) -> np.ndarray:
        parameters = quantisation(self._output)
        assert parameters is not None
        scale, zero_point = parameters
        return scale * (values.astype(np.float64) - zero_point)


def _layer(pair: _Pair, op: Any) -> _Layer | None:
    """The layer of an operator whose operands and result the float32 model has too."""
    model, graph = pair.int8, pair.int8.subgraphs[0]
    output = graph.tensors[op.outputs[0]]
    if kind_of(model, op) in _MOVES or type_of(output) != "INT8" or quantisation(output) is None:
        return None
    computed = dict.fromkeys(index for index in operands(op) if not is_constant(model, graph.tensors[index]))
    sources = [_origin(model, index) for index in computed]
    known = name_of(output) in pair.writer and all(name in pair.index for name in sources)
    return _Layer(pair, op, sources) if known and sources else None


def _origin(model: Any, index: int) -> str:
    """The name of a tensor, looked for behind the conversions that the quantizer has inserted."""
    for op in model.subgraphs[0].operators:
        if index in map(int, op.outputs) and kind_of(model, op) in _CONVERSIONS:
            return _origin(model, int(op.inputs[0]))
    return name_of(model.subgraphs[0].tensors[index])


def _single(model: Any, op: Any) -> bytes:
    """A model of one operator, with its constants. Its inputs are the operands that are computed, in their order."""
    whole = model.subgraphs[0]
    part, graph = copy.copy(model), copy.copy(whole)
    op, entry = copy.copy(op), model.operatorCodes[op.opcodeIndex]
    used = [*dict.fromkeys((*operands(op), *map(int, op.outputs)))]
    place = {index: position for position, index in enumerate(used)} | {-1: -1}
    computed = [index for index in operands(op) if not is_constant(model, whole.tensors[index])]
    graph.tensors = [copy.copy(whole.tensors[index]) for index in used]
    part.buffers = [model.buffers[0], *(model.buffers[tensor.buffer] for tensor in graph.tensors)]
    for position, tensor in enumerate(graph.tensors, start=1):
        tensor.buffer = position
    graph.inputs = [place[index] for index in dict.fromkeys(computed)]
    graph.outputs = [place[int(index)] for index in op.outputs]
    op.inputs = [place[int(index)] for index in op.inputs]
    op.outputs = list(graph.outputs)
    op.opcodeIndex = 0
    graph.operators = [op]
    part.subgraphs, part.operatorCodes = [graph], [entry]
    part.signatureDefs = part.metadata = part.metadataBuffer = None
    return write_model(part)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
