"""Reading TFLite files: whatever the bytes are, a graph or one clear line."""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.reader import read_graph
from ndtool.tests.export.c.harness import O, T, check_kernel, constant, model, random_int8, single_op


def small_model() -> bytes:
    rng = np.random.default_rng(0)
    x = T(shape=(1, 6, 6, 2), scale=0.1, zero_point=3, name="x")
    filters = constant(rng.integers(-127, 128, size=(4, 3, 3, 2)), "int8", scale=[0.01, 0.02, 0.03, 0.04])
    y = T(shape=(1, 6, 6, 4), scale=0.3, zero_point=7, name="y")
    mean = T(shape=(1, 4), scale=0.3, zero_point=7, name="mean")
    scores = T(shape=(1, 3), scale=0.3, zero_point=7, name="scores")
    weights = constant(rng.integers(-127, 128, size=(3, 4)), "int8", scale=0.01)
    options = {"padding": "SAME", "strideH": 1, "strideW": 1}
    return model(
        [
            O("CONV_2D", [x, filters, constant([1, 2, 3, 4])], [y], options),
            O("MEAN", [y, constant([1, 2])], [mean]),
            O("FULLY_CONNECTED", [mean, weights, None], [scores]),
        ]
    )


SMALL = small_model()


def compiles_or_says_why(content: bytes) -> None:
    """LiteRT is left out (golden=0): what is tested is what ndtool itself does with the file."""
    message = ""
    try:
        compile_tflite(content, golden=0)
    except NdtoolError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or message.startswith("a model: ")


def test_options_are_snake_case_and_enums_are_names():
    options = read_graph(SMALL, "a model").ops[0].options
    assert options["padding"] == "SAME"
    assert options["dilation_w_factor"] == 1
    assert options["fused_activation_function"] == "NONE"


@given(st.integers(0, len(SMALL) - 1))
@settings(max_examples=150, deadline=None)
def test_a_truncated_file_is_one_line(length):
    compiles_or_says_why(SMALL[:length])


@given(st.lists(st.tuples(st.integers(8, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_changed_bytes_are_a_model_or_one_line(changes):
    content = bytearray(SMALL)
    for place, value in changes:
        content[place] = value
    compiles_or_says_why(bytes(content))


@given(
    st.integers(2, len(SMALL) // 4 - 1), st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 4096])
)
@settings(max_examples=400, deadline=None)
def test_changed_words_are_a_model_or_one_line(word, value):
    content = bytearray(SMALL)
    struct.pack_into("<I", content, 4 * word, value)
    compiles_or_says_why(bytes(content))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_one_line(content):
    compiles_or_says_why(b"\x10\x00\x00\x00TFL3" + content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ad", "ic", "kws", "mcunet_vww", "vww"])
def test_damage_to_the_tables_of_real_models_is_one_line(shared, name):
    content = (shared / "models" / f"{name}.tflite").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), size=200):
            damaged[place] = rng.integers(0, 256)
        compiles_or_says_why(bytes(damaged))
        compiles_or_says_why(content[: rng.integers(0, len(content))])


def test_a_file_that_is_no_model_is_named(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("hello, hello")
    with pytest.raises(NdtoolError, match=r"notes\.txt: not a TFLite file .* give a \.tflite file"):
        compile_tflite(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(NdtoolError, match=r"absent\.tflite: cannot be read"):
        compile_tflite(tmp_path / "absent.tflite")


def edited(edit: object) -> bytes:
    """The small model after `edit(ModelT)`."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(SMALL, 0))
    edit(whole)
    builder = Builder(1024)
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def two_graphs(m: schema.ModelT) -> None:
    m.subgraphs = m.subgraphs * 2


def sparse(m: schema.ModelT) -> None:
    m.subgraphs[0].tensors[1].sparsity = schema.SparsityParametersT(traversalOrder=np.array([0], np.int32))


def variable(m: schema.ModelT) -> None:
    m.subgraphs[0].tensors[0].isVariable = True


def dynamic(m: schema.ModelT) -> None:
    m.subgraphs[0].tensors[0].shapeSignature = np.array([-1, -1, 6, 2], np.int32)


def of_type(index: int, name: str) -> object:
    def edit(m: schema.ModelT) -> None:
        m.subgraphs[0].tensors[index].type = getattr(schema.TensorType, name)

    return edit


def operator(name: str) -> object:
    def edit(m: schema.ModelT) -> None:
        code = getattr(schema.BuiltinOperator, name)
        m.operatorCodes[0] = schema.OperatorCodeT(
            deprecatedBuiltinCode=min(code, 127), builtinCode=code, customCode=b"Fancy" if name == "CUSTOM" else None
        )

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (two_graphs, "2 subgraphs"),
        (sparse, "tensor 't1' is sparse"),
        (variable, "tensor 'x' is a variable"),
        (dynamic, r"input 'x' of shape \[-1, -1, 6, 2\] is dynamic"),
        (of_type(0, "INT16"), "'x' is int16"),
        (of_type(0, "STRING"), "'x' is string"),
        (of_type(1, "INT4"), "'t1' is int4"),
        (operator("WHILE"), "WHILE 'y': the operator must be a supported one"),
        (operator("CUSTOM"), "CUSTOM Fancy 'y': the operator must be a supported one"),
    ],
)
def test_what_the_compiler_does_not_take_is_named(edit, message):
    with pytest.raises(NdtoolError, match=message):
        compile_tflite(edited(edit))


def test_a_batch_of_any_size_is_compiled_as_one():
    def any_batch(m: schema.ModelT) -> None:
        m.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 6, 6, 2], np.int32)

    assert compile_tflite(edited(any_batch), golden=0).inputs[0].shape == (1, 6, 6, 2)


def test_every_finding_is_reported_at_once():
    floats = [T(shape=(1, 4), dtype="float32", name=name) for name in "abc"]
    whole = [T(shape=(1, 4), scale=0.1) for _ in range(2)]
    ops = [O("RELU", [floats[0]], [floats[1]]), O("CEIL", [floats[1]], [floats[2]]), O("RELU", [whole[0]], [whole[1]])]
    content = model(ops)
    with pytest.raises(NdtoolError) as error:
        compile_tflite(content)
    for part in ("input 'a'", "RELU 'b'", "CEIL 'c': the operator must be a supported one", "output 'c'"):
        assert part in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
def test_a_model_of_another_arithmetic_is_one_plain_answer(dtype):
    ends = [T(shape=(1, 4), dtype=dtype, scale=() if dtype == "float32" else 0.1) for _ in range(2)]
    with pytest.raises(NdtoolError, match=f"computes in {dtype}, and only int8 models become C: quantise"):
        compile_tflite(single_op("ADD", [ends[0], ends[0]], [ends[1]]))


def test_shared_tables_cannot_make_reading_slow():
    """Twenty thousand operators that are one table, of twenty thousand inputs: legal, small, and refused."""
    count = 20000
    builder = Builder(1024)
    inputs = builder.CreateNumpyVector(np.zeros(count, np.int32))
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    one = schema.OperatorEnd(builder)
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(one)
    operators = builder.EndVector()
    codes = one_table(builder, schema.OperatorCodeT(builtinCode=0))
    tensors = one_table(builder, schema.TensorT(name=b"x", shape=np.array([1], np.int32)))
    buffers = one_table(builder, schema.BufferT())
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    schema.SubGraphAddOperators(builder, operators)
    graph = schema.SubGraphEnd(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddOperatorCodes(builder, codes)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    with pytest.raises(NdtoolError, match="damaged: a vector of 20000 items"):
        compile_tflite(bytes(builder.Output()), golden=0)


def one_table(builder: Builder, table: object) -> int:
    """A vector of one table."""
    offset = table.Pack(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def test_a_tensor_that_is_read_before_it_is_made_is_damage():
    def swapped(m: schema.ModelT) -> None:
        m.subgraphs[0].operators.reverse()

    with pytest.raises(NdtoolError, match="reads 'mean' before it is made"):
        compile_tflite(edited(swapped))


def test_a_model_whose_tensors_do_not_fit_any_memory_is_refused():
    x, y = (T(shape=(1, 40000, 40000, 1), scale=0.1, zero_point=0) for _ in range(2))
    with pytest.raises(NdtoolError, match="is too large"):
        compile_tflite(single_op("RELU", [x], [y]))


def test_many_large_tensors_are_refused_before_anything_is_made_of_them():
    tensors = [T(shape=(1, 2048, 2048, 1), scale=0.1, zero_point=0) for _ in range(20)]
    chain = [O("ABS", [a], [b]) for a, b in pairwise(tensors)]
    with pytest.raises(NdtoolError, match="its tensors have 83886080 elements together, which is too large"):
        compile_tflite(model(chain), golden=0)


def buffers_behind(content: bytes) -> bytes:
    """The same model as large files are written: constants lie behind the flatbuffer."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    held = [b"" if buffer.data is None else bytes(bytearray(buffer.data)) for buffer in whole.buffers]

    def pack(start: int) -> bytes:
        for buffer, data in zip(whole.buffers, held, strict=True):
            buffer.data, buffer.offset, buffer.size = None, start if data else 0, len(data)
            start += -(-len(data) // 16) * 16
        builder = Builder(1024)
        builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    length = -(-len(pack(1 << 20)) // 16) * 16
    tail = b"".join(data.ljust(-(-len(data) // 16) * 16, b"\0") for data in held)
    return pack(length).ljust(length, b"\0") + tail


def test_buffers_behind_the_flatbuffer_are_read():
    content = buffers_behind(SMALL)
    rng = np.random.default_rng(0)
    check_kernel(content, random_int8(rng, (1, 6, 6, 2)))
    assert compile_tflite(content, name="m").weight_bytes == compile_tflite(SMALL, name="m").weight_bytes
    with pytest.raises(NdtoolError, match="lies beyond the end of the file"):
        compile_tflite(content[:-16])
