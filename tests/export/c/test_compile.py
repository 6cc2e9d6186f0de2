"""From a model file to a C library that gives the bytes of LiteRT's reference kernels."""

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.export.c import CLibrary, compile_tflite, write_library
from ndtool.tests.export.c.harness import (
    O,
    T,
    build,
    call,
    constant,
    host_compiler,
    model,
    random_int8,
    run_c,
    run_reference,
    single_op,
)
from ndtool.train.data import Normalisation

MODELS = ("ad", "ic", "kws", "mcunet_vww", "vww")


def random_inputs(library: CLibrary, rng: np.random.Generator) -> list[np.ndarray]:
    return [
        rng.normal(scale=100 * port.scale, size=port.shape).astype(np.float32)
        if port.is_float
        else random_int8(rng, port.shape)
        for port in library.inputs
    ]


def selftest(built: Path, library: CLibrary) -> int:
    arena = np.zeros(library.arena_bytes // 4, dtype=np.uint32)
    return ctypes.CDLL(str(built))[f"{library.name}_selftest"](ctypes.c_void_p(arena.ctypes.data))


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_models_are_bit_exact(shared, tmp_path, name):
    path = shared / "models" / f"{name}.tflite"
    library = compile_tflite(path)
    loaded = build(library, tmp_path / "c")
    rng = np.random.default_rng(0)
    for _ in range(3):
        inputs = random_inputs(library, rng)
        for mine, theirs in zip(call(loaded, library, inputs), run_reference(path, inputs), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert selftest(loaded, library) == 0


def test_zigs_compiler_gives_the_same_bytes(shared, tmp_path):
    path = shared / "models" / "kws.tflite"
    library = compile_tflite(path)
    loaded = build(library, tmp_path / "c", compiler="zig")
    inputs = random_inputs(library, np.random.default_rng(1))
    np.testing.assert_array_equal(call(loaded, library, inputs)[0], run_reference(path, inputs)[0])
    assert selftest(loaded, library) == 0


def small_network() -> bytes:
    """Float ends, a convolution, a branch, a reshape: two inputs, two outputs."""
    rng = np.random.default_rng(0)
    pixels = T(shape=(1, 6, 6, 2), dtype="float32", name="pixels")
    image = T(shape=(1, 6, 6, 2), scale=0.02, zero_point=-5, name="image")
    side = T(shape=(1, 72), scale=0.02, zero_point=-5, name="side")
    mixed = T(shape=(1, 72), scale=0.02, zero_point=-5, name="mixed")
    features = T(shape=(1, 6, 6, 2), scale=0.03, zero_point=7, name="a/b:c */ d")
    flat = T(shape=(1, 72), scale=0.03, zero_point=7, name="flat")
    scores = T(shape=(1, 3), scale=0.3, zero_point=-1, name="scores")
    real = T(shape=(1, 3), dtype="float32", name="real")
    filters = constant(rng.integers(-127, 128, size=(2, 3, 3, 2)), "int8", scale=[0.01, 0.02])
    bias = constant([100, -100], scale=[0.0002, 0.0004])
    weights = constant(rng.integers(-127, 128, size=(3, 72)), "int8", scale=0.01)
    return model(
        [
            O("QUANTIZE", [pixels], [image]),
            O("CONV_2D", [image, filters, bias], [features], {"padding": "SAME", "strideH": 1, "strideW": 1}),
            O("RESHAPE", [features, constant([1, 72])], [flat]),
            O("MAXIMUM", [flat, side], [mixed]),
            O("FULLY_CONNECTED", [mixed, weights, None], [scores]),
            O("DEQUANTIZE", [scores], [real]),
        ],
        inputs=[pixels, side],
        outputs=[real, flat],
    )


def test_float_ends_several_inputs_and_outputs(tmp_path):
    content = small_network()
    library = compile_tflite(content, name="small net")
    assert [port.is_float for port in (*library.inputs, *library.outputs)] == [True, False, True, False]
    rng = np.random.default_rng(0)
    loaded = build(library, tmp_path / "c")
    for scale in (0.1, 1, 1e6):  # beyond 2^31 steps LiteRT itself is undefined
        x = (rng.normal(size=(1, 6, 6, 2)) * scale).astype(np.float32)
        inputs = [x, random_int8(rng, (1, 72))]
        for mine, theirs in zip(call(loaded, library, inputs), run_reference(content, inputs), strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
    assert selftest(loaded, library) == 0


def test_layers_tell_the_whole_way_from_end_to_end():
    library = compile_tflite(small_network(), name="net")
    assert [(layer.symbol, layer.kind) for layer in library.layers] == [
        ("net_quantize_input_0", "QUANTIZE"),
        ("net_layer_00", "CONV_2D"),
        ("net_layer_01", "MAXIMUM"),
        ("net_layer_02", "FULLY_CONNECTED"),
        ("net_dequantize_output_0", "DEQUANTIZE"),
    ]
    assert library.macs == 36 * 2 * 18 + 72 * 3
    assert library.peak.live_bytes == max(layer.live_bytes for layer in library.layers) <= library.arena_bytes
    assert library.weight_bytes == sum(layer.weight_bytes for layer in library.layers)


def test_the_self_test_notices_one_wrong_byte(tmp_path):
    library = compile_tflite(small_network(), name="net", golden=3)
    files = dict(library.files)
    start = files["net_golden.c"].index("output_0_vector_1[3] = {") + len("output_0_vector_1[3] = {\n    ")
    value, rest = files["net_golden.c"][start:].split(",", 1)
    files["net_golden.c"] = f"{files['net_golden.c'][:start]}{(int(value) + 200) % 256 - 128},{rest}"
    tampered = CLibrary(**{field: getattr(library, field) for field in CLibrary.__slots__} | {"files": files})
    assert selftest(build(library, tmp_path / "right"), library) == 0
    assert selftest(build(tampered, tmp_path / "wrong"), tampered) == 2


def test_the_same_model_gives_the_same_files(shared):
    path = shared / "models" / "ic.tflite"
    first, second = compile_tflite(path), compile_tflite(path)
    assert dict(first.files) == dict(second.files)
    assert list(first.files) == sorted(first.files)


def test_only_the_kernels_in_use_are_there(shared):
    files = compile_tflite(shared / "models" / "ad.tflite").files
    assert [file for file in files if file.startswith("nd_")] == ["nd_fully_connected.c"]


def test_the_header_has_shapes_scales_and_provenance(shared):
    header = compile_tflite(shared / "models" / "kws.tflite").files["kws.h"]
    assert re.search(r"made by ndtool \S+ from kws\.tflite \(sha256 [0-9a-f]{16}\)", header)
    for line in (
        "#define KWS_INPUT_HEIGHT 49",
        "#define KWS_INPUT_WIDTH 10",
        "#define KWS_INPUT_CHANNELS 1",
        "#define KWS_INPUT_ZERO_POINT (83)",
        "#define KWS_OUTPUT_SHAPE {1, 12}",
        "#define KWS_OUTPUT_SCALE 0.00390625f",
    ):
        assert line in header.splitlines()


def test_names_from_the_file_cannot_leave_their_comment():
    code = compile_tflite(small_network(), name="net").files["net.c"]
    assert "/* CONV_2D 'a/b:c * / d': [1,6,6,2] -> [1,6,6,2] */" in code


def test_generated_code_reads_as_if_written_by_hand():
    x, y = T(shape=(1, 2, 2, 8), scale=0.1, zero_point=3), T(shape=(1, 8), scale=0.1, zero_point=3, name="pool")
    code = compile_tflite(single_op("MEAN", [x, constant([1, 2])], [y]), name="net").files["net.c"]
    assert (
        """/* MEAN 'pool': [1,2,2,8] -> [1,8] */
ND_NOINLINE void net_layer_00(uint8_t *arena)
{
    static const nd_mean_params params = {
        .kept = {1, 1, 8},
        .kept_step = {0, 0, 1},
        .summed = {1, 1, 4},
        .summed_step = {0, 0, 8},
        .offset = -12,
        .multiplier = 1073741824,
        .shift = -1,
        .rounding = 7,
        .right_shift = 1,
        .output_zero_point = 3,
    };

    nd_mean((int8_t *)(arena + 0), (int8_t *)(arena + 0), &params);
}
"""
        in code
    )


@pytest.mark.parametrize("zero_point", [-128, 3])
@pytest.mark.parametrize("statistics", [((0.5,), (0.25,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_pixels_become_the_input_that_training_and_litert_would_make(tmp_path, statistics, zero_point):
    import torch

    normalisation = Normalisation(mean=statistics[0], std=statistics[1])
    channels = len(normalisation.mean)
    shape = (1, 16, 16, channels)
    x = T(shape=shape, dtype="float32")
    q = T(shape=shape, scale=0.02, zero_point=zero_point)
    content = single_op("QUANTIZE", [x], [q])
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), shape)
    normalised = normalisation(torch.from_numpy(np.moveaxis(pixels, 3, 1).copy())).numpy()
    expected = run_reference(content, [np.ascontiguousarray(np.moveaxis(normalised, 1, 3))])[0]

    library = compile_tflite(content, name="net", pixels=normalisation)
    loaded = ctypes.CDLL(str(build(library, tmp_path / "c")))
    arena = np.zeros(library.arena_bytes // 4, dtype=np.uint32)
    source = np.ascontiguousarray(pixels)
    loaded.net_input_from_pixels(ctypes.c_void_p(source.ctypes.data), ctypes.c_void_p(arena.ctypes.data))
    np.testing.assert_array_equal(arena.view(np.int8)[: expected.size], expected.reshape(-1))


def test_pixels_of_other_channels_than_the_input_are_refused(shared):
    with pytest.raises(NdtoolError, match="does not end in the 1 channels of the normalisation"):
        compile_tflite(shared / "models" / "ic.tflite", pixels=Normalisation(mean=(0.5,), std=(0.5,)))


def test_a_written_library_is_the_compiled_one(tmp_path):
    library = compile_tflite(small_network(), name="net")
    for _ in range(2):  # the second replaces the first
        write_library(library, tmp_path / "c")
        (tmp_path / "c" / "stale.txt").touch()
    write_library(library, tmp_path / "c")
    assert {path.name: path.read_text() for path in (tmp_path / "c").iterdir()} == dict(library.files)


@pytest.mark.parametrize(
    ("which", "values"), [("xy", [[1, 2], [2, 4]]), ("yy", [[2, 4], [2, 4]]), ("x", [[1, 2]]), ("xx", [[1, 2]] * 2)]
)
def test_an_input_or_a_repeated_tensor_can_be_an_output(tmp_path, which, values):
    x, y = T(shape=(1, 2), scale=0.1, name="x"), T(shape=(1, 2), scale=0.1, name="y")
    ends = {"x": x, "y": y}
    content = model([O("ADD", [x, x], [y])] if "y" in which else [], inputs=[x], outputs=[ends[e] for e in which])
    library = compile_tflite(content, name="net")
    loaded = build(library, tmp_path / "c")
    assert [out[0].tolist() for out in call(loaded, library, [np.array([[1, 2]], dtype=np.int8)])] == values
    assert selftest(loaded, library) == 0


def test_a_network_without_calls_is_a_library(tmp_path):
    x, y = T(shape=(1, 4), scale=0.1, zero_point=0), T(shape=(4, 1), scale=0.1, zero_point=0)
    library = compile_tflite(single_op("RESHAPE", [x, constant([4, 1])], [y]), name="net")
    assert library.layers == ()
    value = np.array([[1, 2, 3, 4]], dtype=np.int8)
    assert run_c(library, [value])[0].tolist() == [[1], [2], [3], [4]]


@pytest.mark.parametrize(
    ("target", "cpu"), [("thumb-freestanding-eabihf", "cortex_m7"), ("thumb-freestanding-eabi", "cortex_m0plus")]
)
def test_libraries_need_nothing_but_memcpy_and_memset_on_a_microcontroller(shared, tmp_path, target, cpu):
    from elftools.elf.elffile import ELFFile

    write_library(compile_tflite(shared / "models" / "mcunet_vww.tflite", name="net"), tmp_path / "c")
    sources = sorted(path.name for path in (tmp_path / "c").glob("*.c"))
    flags = ["-O2", "-ffreestanding", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]
    command = [*host_compiler("zig"), "-target", target, f"-mcpu={cpu}", *flags, *sources]
    subprocess.run(command, cwd=tmp_path / "c", check=True)
    defined, undefined = set(), set()
    for path in (tmp_path / "c").glob("*.o"):
        with Path(path).open("rb") as file:
            for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
                (undefined if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    outside = {name for name in undefined - defined if name and not name.startswith("__aeabi_")}
    assert outside <= {"memcpy", "memset"}
