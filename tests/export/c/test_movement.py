"""Operators that move data against LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.call import Buffer, Call, Struct
from ndtool.export.c.context import Context
from ndtool.export.c.operators import OPERATORS
from ndtool.export.c.operators.resize import nearest
from ndtool.export.c.reader import read_graph
from ndtool.tests.export.c.batches import Draw, batched, check_batch, shapes, tensors
from ndtool.tests.export.c.harness import O, T, check_kernel, constant, model, random_int8, single_op

INTEGERS = st.sampled_from(["int32", "int64"])


@st.composite
def transposes(draw: Draw) -> O:
    source = draw(tensors(draw(shapes(1, 6, 4))))
    order = draw(st.permutations(range(len(source.shape))))
    shape = [source.shape[axis] for axis in order]
    return O("TRANSPOSE", [source, constant(order)], [draw(tensors(shape, like=source))])


@st.composite
def paddings(draw: Draw) -> O:
    source = draw(tensors(draw(shapes(1, 5, 4))))
    pairs = [
        draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) if draw(st.booleans()) else (0, 0) for _ in source.shape
    ]
    shape = [size + sum(pair) for size, pair in zip(source.shape, pairs, strict=True)]
    inputs = [source, constant(pairs, draw(INTEGERS))]
    kind = draw(st.sampled_from(["PAD", "PADV2"]))
    if kind == "PADV2":
        value = draw(st.integers(-128, 127))
        inputs.append(constant([value], "int8", scale=source.scale, zero_point=source.zero_point))
    return O(kind, inputs, [draw(tensors(shape, like=source))])


@st.composite
def slices(draw: Draw) -> O:
    source = draw(tensors(draw(shapes(1, 5))))
    begin = [draw(st.integers(0, size - 1)) for size in source.shape]
    counts = [draw(st.integers(1, size - start)) for size, start in zip(source.shape, begin, strict=True)]
    rest = [size - start == count for size, start, count in zip(source.shape, begin, counts, strict=True)]
    stated = [-1 if all_of_it and draw(st.booleans()) else n for n, all_of_it in zip(counts, rest, strict=True)]
    dtype = draw(INTEGERS)
    return O("SLICE", [source, constant(begin, dtype), constant(stated, dtype)], [draw(tensors(counts, like=source))])


@st.composite
def strided_slices(draw: Draw) -> O:
    source = draw(tensors(draw(shapes(1, 4, 6))))
    begin, end, strides, shape = [], [], [], []
    masks = {"beginMask": 0, "endMask": 0, "shrinkAxisMask": 0}
    for axis, size in enumerate(source.shape):
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        low, high = draw(st.integers(-size - 2, size + 2)), draw(st.integers(-size - 2, size + 2))
        masked = draw(st.booleans()), draw(st.booleans())
        taken = range(size)[None if masked[0] else low : None if masked[1] else high : step]
        shrunk = draw(st.integers(0, 3)) == 0
        if shrunk or not taken:
            low, high, step = draw(st.integers(-size, size - 1)), 0, 1
            masks["shrinkAxisMask"] |= 1 << axis
        else:
            shape.append(len(taken))
            masks["beginMask"] |= masked[0] << axis
            masks["endMask"] |= masked[1] << axis
        begin.append(low)
        end.append(high)
        strides.append(step)
    return O(
        "STRIDED_SLICE",
        [source, constant(begin), constant(end), constant(strides)],
        [draw(tensors(shape, like=source))],
        masks,
    )


@st.composite
def concatenations(draw: Draw) -> O:
    shape = draw(shapes(1, 4, 4))
    axis = draw(st.integers(0, len(shape) - 1))
    first = draw(tensors(shape))
    inputs = [first]
    for size in draw(st.lists(st.integers(1, 4), max_size=3)):
        inputs.append(draw(tensors((*shape[:axis], size, *shape[axis + 1 :]), like=first)))
    if len(inputs) > 1 and draw(st.booleans()):
        values = random_int8(np.random.default_rng(draw(st.integers(0, 99))), inputs[-1].shape)
        inputs[-1] = constant(values, "int8", scale=first.scale, zero_point=first.zero_point)
    total = sum(t.shape[axis] for t in inputs)
    output = draw(tensors((*shape[:axis], total, *shape[axis + 1 :]), like=first))
    return O("CONCATENATION", inputs, [output], {"axis": axis - len(shape) * draw(st.integers(0, 1))})


@st.composite
def splits(draw: Draw) -> O:
    shape = draw(shapes(1, 4, 4))
    axis = draw(st.integers(0, len(shape) - 1))
    stated = constant([axis - len(shape) * draw(st.integers(0, 1))])
    parts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    kind = draw(st.sampled_from(["SPLIT", "SPLIT_V"]))
    if kind == "SPLIT":
        parts = [parts[0]] * len(parts)
    source = draw(tensors((*shape[:axis], sum(parts), *shape[axis + 1 :])))
    outputs = [draw(tensors((*shape[:axis], part, *shape[axis + 1 :]), like=source)) for part in parts]
    inputs = [stated, source] if kind == "SPLIT" else [source, constant(parts), stated]
    return O(kind, inputs, outputs, {"numSplits": len(parts)})


@st.composite
def stacks(draw: Draw) -> O:
    shape, count = draw(shapes(1, 3, 4)), draw(st.integers(1, 4))
    axis = draw(st.integers(0, len(shape)))
    whole = draw(tensors((*shape[:axis], count, *shape[axis:])))
    singles = [draw(tensors(shape, like=whole)) for _ in range(count)]
    if draw(st.booleans()):
        return O("PACK", singles, [whole], {"axis": axis, "valuesCount": count})
    return O("UNPACK", [whole], singles, {"axis": axis, "num": count})


@st.composite
def depth_and_space(draw: Draw) -> O:
    batches, height, width, channels = (draw(st.integers(1, 3)) for _ in range(4))
    block = draw(st.integers(1, 3))
    fine = draw(tensors((batches, height * block, width * block, channels)))
    coarse = draw(tensors((batches, height, width, channels * block * block), like=fine))
    if draw(st.booleans()):
        return O("DEPTH_TO_SPACE", [coarse], [fine], {"blockSize": block})
    return O("SPACE_TO_DEPTH", [fine], [coarse], {"blockSize": block})


@st.composite
def resizes(draw: Draw) -> O:
    source = draw(tensors(draw(shapes(4, 4, 9))))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    align = draw(st.booleans())
    settings = {"alignCorners": align, "halfPixelCenters": not align and draw(st.booleans())}
    output = draw(tensors((source.shape[0], *size, source.shape[3]), like=source))
    return O("RESIZE_NEAREST_NEIGHBOR", [source, constant(size)], [output], settings)


@batched(transposes())
def test_transpose_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(paddings())
def test_padding_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(slices())
def test_slice_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(strided_slices())
def test_strided_slice_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(concatenations())
def test_concatenation_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(splits())
def test_split_is_the_references(ops, seed):
    check_batch(ops, seed)


@batched(stacks())
def test_pack_and_unpack_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(depth_and_space())
def test_depth_to_space_and_back_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(resizes())
def test_nearest_neighbour_resizing_is_the_references(ops, seed):
    check_batch(ops, seed)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.booleans(), st.booleans())
def test_the_nearest_index_is_inside_and_rises(size, target, align_corners, half_pixel_centers):
    indices = nearest(size, target, align_corners=align_corners, half_pixel_centers=half_pixel_centers).astype(int)
    assert indices.min() >= 0
    assert indices.max() < size
    assert np.all(np.diff(indices) >= 0)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(transposes(), paddings(), slices(), strided_slices(), concatenations(), splits(), stacks(), resizes()),
    st.data(),
)
def test_a_damaged_operator_is_refused_or_stays_within_its_tensors(op, data):
    """One number of a shape or a constant is changed."""
    tensor = data.draw(st.sampled_from([t for t in [*op.inputs, *op.outputs] if t.shape]))
    if tensor.data is not None and tensor.dtype != "int8" and data.draw(st.booleans()):
        tensor.data = tensor.data.copy()
        tensor.data.reshape(-1)[data.draw(st.integers(0, tensor.data.size - 1))] = data.draw(st.integers(-9, 9))
    elif tensor.data is None:
        shape = list(tensor.shape)
        shape[data.draw(st.integers(0, len(shape) - 1))] = data.draw(st.integers(1, 7))
        tensor.shape = shape[: data.draw(st.integers(0, len(shape)))] if data.draw(st.booleans()) else shape
    (read,) = read_graph(model([op]), "damaged").ops
    rules = OPERATORS[read.kind].rules
    if any(rule(read) for rule in rules):
        return
    lowered = OPERATORS[read.kind].lower(read, Context())
    for part in lowered if isinstance(lowered, tuple) else (lowered,):
        if isinstance(part, Call):
            assert_stays_inside(part)
        else:
            assert part.input.bytes == part.output.bytes


def assert_stays_inside(part: Call) -> None:
    """The bytes that a call's parameters reach lie within its tensors."""
    output, source = part.writes[0], part.arguments[1]
    input_bytes = source.tensor.bytes if isinstance(source, Buffer) else source.values.size
    fields = next(a.fields for a in part.arguments if isinstance(a, Struct))
    if part.kernel == "nd_copy":
        for side, bytes_there in (("output", output.bytes), ("input", input_bytes)):
            reach = [(n - 1) * step for n, step in zip(fields["size"], fields[f"{side}_step"], strict=True)]
            assert fields[f"{side}_offset"] + sum(r for r in reach if r < 0) >= 0
            assert fields[f"{side}_offset"] + sum(r for r in reach if r > 0) + fields["run"] <= bytes_there
    elif part.kernel == "nd_pad":
        written = fields["run"] + fields["before"][4] + fields["after"][4]
        for loop in (3, 2, 1, 0):
            written = written * fields["size"][loop] + fields["before"][loop] + fields["after"][loop]
        assert written == output.bytes
        assert int(np.prod(fields["size"])) * fields["run"] == input_bytes
    else:
        assert part.kernel == "nd_resize_nearest"
        shape = [fields[name] for name in ("batches", "output_height", "output_width", "channels")]
        assert int(np.prod(shape)) == output.bytes
        assert fields["rows"].values.max() < fields["input_height"]
        assert fields["columns"].values.max() < fields["input_width"]


def test_moving_axes_of_one_costs_no_code():
    x = T(shape=(1, 7, 1, 3), scale=0.1)
    y = T(shape=(7, 1, 3, 1), scale=0.1)
    assert not compile_tflite(single_op("TRANSPOSE", [x, constant([1, 0, 3, 2])], [y]), golden=0).layers


def test_padding_takes_no_more_memory_than_its_output_and_a_row():
    x, y = T(shape=(1, 32, 32, 3), scale=0.1), T(shape=(1, 34, 34, 3), scale=0.1)
    content = single_op("PAD", [x, constant([[0, 0], [1, 1], [1, 1], [0, 0]])], [y])
    library = compile_tflite(content, name="t", golden=0)
    assert library.arena_bytes <= 34 * 34 * 3 + 3 * 34 * 3
    check_kernel(content, random_int8(np.random.default_rng(0), x.shape))


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "options", "message"),
    [
        ("PAD", [(2, 3), T(shape=(2, 2), dtype="int32")], [(2, 3)], {}, "paddings must be int32 or int64 constants"),
        ("PAD", [(2, 3), constant([[0, -1], [0, 0]])], [(1, 3)], {}, "not negative"),
        ("PAD", [(2, 3), constant([0, 1])], [(3, 3)], {}, "two numbers"),
        ("TRANSPOSE", [(2, 3), constant([0, 0])], [(2, 2)], {}, "every axis of the input once"),
        ("TRANSPOSE", [(2, 3), constant([1, 0])], [(2, 3)], {}, "the permuted shape"),
        ("SLICE", [(2, 3), constant([0, 2]), constant([2, 2])], [(2, 2)], {}, "within the input"),
        ("STRIDED_SLICE", [(4,), constant([0]), constant([4]), constant([0])], [(4,)], {}, "strides not 0"),
        ("STRIDED_SLICE", [(4,), *[constant([1])] * 3], [(4,)], {"newAxisMask": 1}, "reshape instead"),
        ("CONCATENATION", [(2, 3), (2, 4)], [(2, 8)], {"axis": 1}, "add up"),
        ("CONCATENATION", [(2, 3), (2, 4)], [(2, 7)], {"axis": 5}, "add up"),
        ("CONCATENATION", [(3,), T(shape=(3,), scale=0.5)], [(6,)], {"axis": 0}, "requantise the inputs first"),
        ("SPLIT", [constant([3]), (4,)], [(2,), (2,)], {"numSplits": 2}, "add up"),
        ("SPLIT", [constant([0]), (4,)], [(3,), (1,)], {"numSplits": 2}, "equal parts"),
        ("PACK", [(2,), (3,)], [(2, 2)], {"axis": 0, "valuesCount": 2}, "without the axis"),
        ("DEPTH_TO_SPACE", [(1, 2, 2, 3)], [(1, 4, 4, 1)], {"blockSize": 2}, "block size"),
        ("RESIZE_NEAREST_NEIGHBOR", [(1, 2, 2, 3), constant([4, 4])], [(1, 4, 5, 3)], {}, "height and width"),
        ("MIRROR_PAD", [(4,), constant([[1, 1]])], [(6,)], {}, "MIRROR_PAD"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(kind, inputs, outputs, options, message):
    def tensor(t: T | tuple[int, ...]) -> T:
        return t if isinstance(t, T) else T(shape=t, scale=1.0)

    content = single_op(kind, [tensor(t) for t in inputs], [tensor(t) for t in outputs], **options)
    with pytest.raises(NdtoolError, match=message):
        compile_tflite(content, golden=0)
