"""Golden vectors: inferences of LiteRT's reference kernels on random inputs, kept for the library's self-test."""

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.export.c.emission import Golden
from ndtool.export.c.ends import Ends
from ndtool.export.c.graph import Graph
from ndtool.quantize.runtime import TFLiteModel


def golden_vectors(content: bytes, graph: Graph, ends: Ends, count: int) -> tuple[Golden, ...]:
    """`count` inferences on seeded random inputs, as seen at the int8 ends.

    Raises:
        NdtoolError: LiteRT cannot run the model.
    """
    if not count:
        return ()
    model = TFLiteModel(content, reference=True, keep_tensors=True)
    rng = np.random.default_rng(0)
    return tuple(_vector(model, graph, ends, rng) for _ in range(count))


def _vector(model: TFLiteModel, graph: Graph, ends: Ends, rng: np.random.Generator) -> Golden:
    inputs = []
    for tensor, op in zip(ends.graph.inputs, ends.quantise, strict=True):
        value = rng.integers(-128, 128, size=tensor.shape, dtype=np.int8)
        real = (value.astype(np.float32) - tensor.zero_point[0]) * np.float32(tensor.scale[0])
        inputs.append(value if op is None else real)
    try:
        model.run(*inputs)
    except (RuntimeError, ValueError) as error:
        raise NdtoolError(f"{graph.name}: LiteRT cannot run it: {str(error).splitlines()[0]}") from error
    return Golden(
        inputs=tuple(model.tensor(tensor.index).copy() for tensor in ends.graph.inputs),
        outputs=tuple(model.tensor(tensor.index).copy() for tensor in ends.graph.outputs),
    )
