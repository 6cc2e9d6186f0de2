"""Damaged model files: bytes changed, moved and cut, and tables that are sound but say nonsense."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from hypothesis import strategies as st

from ndtool.tests.export.c.harness import O, T, constant, model
from ndtool.tests.export.c.test_compile import small_network
from ndtool.tests.export.c.test_convolution import convolutions, depthwise
from ndtool.tests.export.c.test_elementwise import extrema, products, realistic, sums
from ndtool.tests.export.c.test_fully_connected import layers
from ndtool.tests.export.c.test_graphs import Maker
from ndtool.tests.export.c.test_movement import (
    concatenations,
    depth_and_space,
    paddings,
    resizes,
    slices,
    splits,
    stacks,
    strided_slices,
    transposes,
)
from ndtool.tests.export.c.test_pooling import means, pools, reshapings, wide
from ndtool.tests.export.c.test_tables import functions, softmaxes

# Sizes, offsets and indices at which code that trusts them breaks.
WORDS = (0, 1, 2, 3, 4, 8, 127, 128, 255, 256, 4096, 65535, 65536, 1 << 20, 1 << 28, 1 << 30)
ODD = (*WORDS, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
REALS = (0.0, -0.0, -1.0, 1.0, 0.5, 1e-45, 1e-30, 1e-12, 1e12, 1e38, float("inf"), float("-inf"), float("nan"))

operators = st.one_of(
    *(convolutions(), depthwise(), layers(), pools(), means(), reshapings(), wide()),
    *(realistic(), sums(), products(), extrema()),
    *(transposes(), paddings(), slices(), strided_slices(), concatenations(), splits(), stacks()),
    *(depth_and_space(), resizes(), functions(), softmaxes()),
)


def _grown(seed: int, steps: int) -> bytes:
    maker = Maker(seed)
    maker.grow(steps)
    return model(maker.ops, inputs=maker.images[:1], outputs=maker.outputs())


def _classifier() -> bytes:
    rng = np.random.default_rng(0)
    x = T(shape=(1, 4, 4, 3), scale=0.1, zero_point=3, name="x")
    mean, scores = (T(shape=(1, size), scale=0.3, zero_point=7) for size in (3, 5))
    weights = constant(rng.integers(-127, 128, size=(5, 3)), "int8", scale=0.01)
    return model([O("MEAN", [x, constant([1, 2])], [mean]), O("FULLY_CONNECTED", [mean, weights, None], [scores])])


CORPUS = (small_network(), _classifier(), *(_grown(seed, 2 + seed % 7) for seed in range(20)))


# ---- bytes -----------------------------------------------------------------------------------------------------


def _words_that_point(content: bytes) -> list[int]:
    """Where words lie that may be offsets or lengths of vectors: small numbers that stay within the file."""
    words = np.frombuffer(content[: len(content) // 4 * 4], dtype="<u4")
    return [4 * int(i) for i in np.flatnonzero((words > 0) & (words < len(content)))]


def flip(content: bytes, place: int, value: int) -> bytes:
    place %= len(content)
    return content[:place] + bytes([content[place] ^ (value % 255 + 1)]) + content[place + 1 :]


def truncate(content: bytes, place: int, value: int) -> bytes:
    return content[: 8 + place % len(content)]


def word(content: bytes, place: int, value: int) -> bytes:
    """Any aligned word becomes an odd one."""
    return _put(content, place % (len(content) // 4) * 4, ODD[value % len(ODD)])


def pointer(content: bytes, place: int, value: int) -> bytes:
    """An offset or a length becomes an odd one, or one that is wrong by little."""
    places = _words_that_point(content)
    if not places:
        return content
    at = places[place % len(places)]
    old = struct.unpack_from("<I", content, at)[0]
    near = [old + step for step in (-4, -2, -1, 1, 2, 4, 8, 64)]
    choices = [*near, *ODD]
    return _put(content, at, choices[value % len(choices)])


def _put(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + struct.pack("<I", value & 0xFFFFFFFF) + content[at + 4 :]


def splice(content: bytes, place: int, value: int) -> bytes:
    """A part of another model over a part of this one."""
    other = CORPUS[value % len(CORPUS)]
    length, start = 4 * (1 + place % 24), place % len(other) // 4 * 4
    at = (place * 7 + value) % len(content) // 4 * 4
    return content[:at] + other[start : start + length] + content[at + length :]


def move(content: bytes, place: int, value: int) -> bytes:
    """Words put in or left out, so that what follows is elsewhere."""
    at = 8 + place % len(content) // 4 * 4
    return content[:at] + content[at + 4 :] if value % 2 else content[:at] + bytes(4 * (1 + value % 5)) + content[at:]


BYTES: tuple[Callable[[bytes, int, int], bytes], ...] = (flip, truncate, word, pointer, pointer, pointer, splice, move)
places = st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 10))


@st.composite
def damaged(draw: Callable[[st.SearchStrategy], Any]) -> bytes:
    """A file of the corpus after one to four changes of its bytes; the identifier stays."""
    content = draw(st.sampled_from(CORPUS))
    for change in draw(st.lists(st.sampled_from(BYTES), min_size=1, max_size=4)):
        content = change(content, *draw(places))
        content = content[:4] + b"TFL3" + content[8:]
    return content


# ---- tables ----------------------------------------------------------------------------------------------------

sizes = st.one_of(st.integers(-2, 9), st.sampled_from([64, 1 << 10, 1 << 16, 1 << 24, 1 << 28, 1 << 30, -(1 << 31)]))
integers = st.one_of(st.integers(-3, 12), st.sampled_from([127, -128, 128, 1 << 15, (1 << 31) - 1, -(1 << 31)]))
reals = st.one_of(st.floats(1e-6, 100), st.sampled_from(REALS))
Draw = Callable[[st.SearchStrategy], Any]


def _pick(draw: Draw, items: Sequence[Any]) -> Any:
    return items[draw(st.integers(0, len(items) - 1))]


def shape(draw: Draw, whole: schema.ModelT) -> None:
    tensor = _pick(draw, whole.subgraphs[0].tensors)
    old = [] if tensor.shape is None else list(tensor.shape)
    if old and draw(st.booleans()):
        old[draw(st.integers(0, len(old) - 1))] = draw(sizes)
        tensor.shape = np.array(old, np.int32)
    else:
        tensor.shape = np.array(draw(st.lists(sizes, max_size=6)), np.int32)


def dtype(draw: Draw, whole: schema.ModelT) -> None:
    _pick(draw, whole.subgraphs[0].tensors).type = draw(st.integers(-1, 22))


def scale(draw: Draw, whole: schema.ModelT) -> None:
    tensor = _pick(draw, whole.subgraphs[0].tensors)
    count = draw(st.sampled_from([0, 1, 1, 1, 2, 4, 1 if tensor.shape is None or not len(tensor.shape) else 3]))
    values = np.array([draw(reals) for _ in range(count)], np.float32)
    if tensor.quantization is not None and tensor.quantization.scale is not None and draw(st.booleans()):
        values = np.full_like(np.asarray(tensor.quantization.scale, np.float32), draw(reals))
    tensor.quantization = schema.QuantizationParametersT(
        scale=values,
        zeroPoint=np.array([draw(integers) for _ in range(draw(st.sampled_from([len(values), 1, 0])))], np.int64),
        quantizedDimension=draw(st.integers(-1, 4)),
    )


def indices(draw: Draw, whole: schema.ModelT) -> None:
    graph = whole.subgraphs[0]
    count = len(graph.tensors)
    owner = _pick(draw, [graph, *(graph.operators or [])])
    which = draw(st.sampled_from(["inputs", "outputs"]))
    chosen = [] if getattr(owner, which) is None else list(getattr(owner, which))
    change = draw(st.sampled_from(["replace", "drop", "add", "swap"]))
    if chosen and change == "replace":
        chosen[draw(st.integers(0, len(chosen) - 1))] = draw(st.integers(-2, count))
    elif chosen and change == "drop":
        chosen.pop(draw(st.integers(0, len(chosen) - 1)))
    elif change == "swap":
        chosen.reverse()
    else:
        chosen.append(draw(st.integers(-1, count - 1)))
    setattr(owner, which, np.array(chosen, np.int32))


def option(draw: Draw, whole: schema.ModelT) -> None:
    owners = [op.builtinOptions for op in whole.subgraphs[0].operators or [] if op.builtinOptions is not None]
    if not owners:
        return
    options = _pick(draw, owners)
    if names := sorted(vars(options)):
        name = _pick(draw, names)
        old = getattr(options, name)
        if isinstance(old, bool):
            setattr(options, name, not old)
        elif isinstance(old, float):
            setattr(options, name, draw(reals))
        elif isinstance(old, int):
            enum = name.endswith(("adding", "Function", "Format", "Type", "type"))
            setattr(options, name, draw(st.integers(0, 5) if enum else integers))


def kind(draw: Draw, whole: schema.ModelT) -> None:
    code = _pick(draw, whole.operatorCodes)
    if draw(st.booleans()) and whole.subgraphs[0].operators:
        _pick(draw, whole.subgraphs[0].operators).opcodeIndex = draw(st.integers(0, len(whole.operatorCodes)))
    else:
        code.builtinCode = draw(st.integers(-1, 210))
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def values(draw: Draw, whole: schema.ModelT) -> None:
    """Constants, axes and paddings among them, of other values or another length."""
    held = [buffer for buffer in whole.buffers if buffer.data is not None and len(buffer.data)]
    if not held:
        return
    buffer = _pick(draw, held)
    data = np.array(buffer.data, np.uint8)
    how = draw(st.sampled_from(["random", "small", "large", "longer", "shorter", "none"]))
    count = len(data) // 4
    if how == "random":
        data = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, len(data), np.uint8)
    elif how in ("small", "large") and count:
        numbers = [draw(integers if how == "small" else sizes) for _ in range(min(count, 12))]
        words = np.resize(np.array(numbers, np.int64), count).astype(np.uint32)
        data = words.view(np.uint8)
    elif how == "longer":
        data = np.concatenate([data, data])
    elif how == "shorter":
        data = data[: len(data) // 2]
    buffer.data = None if how == "none" else data


def place(draw: Draw, whole: schema.ModelT) -> None:
    """Another buffer, or one outside the flatbuffer."""
    if draw(st.booleans()):
        _pick(draw, whole.subgraphs[0].tensors).buffer = draw(st.integers(0, len(whole.buffers)))
    else:
        buffer = _pick(draw, whole.buffers)
        buffer.data, buffer.offset, buffer.size = None, draw(st.integers(0, 5000)), draw(st.integers(0, 5000))


def state(draw: Draw, whole: schema.ModelT) -> None:
    graph = whole.subgraphs[0]
    tensor = _pick(draw, graph.tensors)
    change = draw(st.sampled_from(["variable", "name", "signature", "version", "operators", "tensors"]))
    if change == "variable":
        tensor.isVariable = True
    elif change == "name":
        tensor.name = draw(st.one_of(st.binary(max_size=8), st.just('é\n*/ \\ "%s\0'.encode())))
    elif change == "signature":
        tensor.shapeSignature = np.array(draw(st.lists(st.integers(-1, 4), max_size=4)), np.int32)
    elif change == "version":
        whole.version = draw(st.integers(0, 4))
    elif change == "operators" and graph.operators:
        graph.operators = [*draw(st.permutations(graph.operators)), _pick(draw, graph.operators)]
    elif change == "tensors":
        graph.tensors = graph.tensors[:-1]


TABLES = (shape, shape, dtype, scale, scale, indices, indices, option, option, kind, values, values, place, state)


@st.composite
def nonsense(draw: Draw) -> bytes:
    """A sound flatbuffer of a few random operators, after one to four changes of what it says, most often one."""
    content = (
        draw(st.sampled_from(CORPUS))
        if draw(st.integers(0, 3)) == 0
        else model(draw(st.lists(operators, min_size=1, max_size=3)))
    )
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        draw(st.sampled_from(TABLES))(draw, whole)
    builder = Builder(1024)
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
