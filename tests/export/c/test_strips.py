"""Chains of calls made by bands of rows give the same bytes in a smaller arena."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ndtool.export.c import choose as choosing
from ndtool.export.c import compile_tflite
from ndtool.export.c.call import Call, Strip
from ndtool.export.c.context import Context, Features
from ndtool.export.c.lower import Draft, lower
from ndtool.export.c.reader import read_graph
from ndtool.export.c.strips import can_join, strip
from ndtool.tests.export.c.harness import DSP, THUMB, O, T, constant, model, random_int8, run_c, run_reference


def layer(rng: np.random.Generator, source: T, kind: str, channels: int, filter_: int, stride: int, padding: str) -> O:
    """A convolution, depthwise convolution or pool behind `source`."""
    batch, height, width, depth = source.shape
    covered = [size if padding == "SAME" else size - filter_ + 1 for size in (height, width)]
    rows, columns = (-(-size // stride) for size in covered)
    if kind == "MAX_POOL_2D":
        target = T(shape=(batch, rows, columns, depth), scale=source.scale, zero_point=source.zero_point)
        sizes = {"filterHeight": filter_, "filterWidth": filter_}
        return O(kind, [source], [target], {"padding": padding, "strideW": stride, "strideH": stride, **sizes})
    depthwise = kind == "DEPTHWISE_CONV_2D"
    channels = depth if depthwise else channels
    shape = (1, filter_, filter_, depth) if depthwise else (channels, filter_, filter_, depth)
    weights = constant(rng.integers(-127, 128, shape), "int8", scale=[0.01] * channels, axis=3 if depthwise else 0)
    weights.zero_point = [0] * channels
    bias = constant(rng.integers(-500, 500, channels), "int32", scale=[0.001] * channels)
    target = T(shape=(batch, rows, columns, channels), scale=0.2, zero_point=int(rng.integers(-20, 20)))
    options = {"padding": padding, "strideW": stride, "strideH": stride, "dilationWFactor": 1, "dilationHFactor": 1}
    if depthwise:
        options["depthMultiplier"] = 1
    return O(kind, [source, weights, bias], [target], options)


def chain(seed: int) -> bytes:
    """Two to five random layers in a row."""
    rng = np.random.default_rng(seed)
    height, width, depth = rng.integers(4, 18), rng.integers(3, 10), rng.choice([1, 3, 4, 8])
    tensor = T(shape=(1, int(height), int(width), int(depth)), scale=0.1, zero_point=3)
    ops: list[O] = []
    for _ in range(rng.integers(2, 6)):
        filter_, stride, channels = (
            int(rng.choice([1, 2, 3, 5])),
            int(rng.choice([1, 1, 2, 3])),
            int(rng.choice([2, 4, 5])),
        )
        padding = str(rng.choice(["SAME", "VALID"])) if min(tensor.shape[1:3]) >= filter_ else "SAME"
        kind = str(rng.choice(["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"]))
        ops.append(layer(rng, tensor, kind, channels, filter_, stride, padding))
        tensor = ops[-1].outputs[0]
    return model(ops)


def as_strip(content: bytes, rows: int, features: Features) -> Any:
    """A stand-in for `choose` that makes the whole program one strip."""

    def choose(draft: Draft, *_: Any, **__: Any) -> choosing.Chosen:
        calls = [next(call for call in candidates if call.rows) for candidates in draft.candidates]
        assert all(can_join(one, other) for one, other in pairwise(calls))
        program = draft.program((strip(calls, rows),))
        return choosing.Chosen(program=program, plan=choosing.plan(program))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ndtool.export.c.compile.choose", choose)
        return compile_tflite(content, name="t", golden=0, features=features)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), features=st.sampled_from([Features(), DSP, THUMB]))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_strips_give_the_bytes_of_the_reference(seed: int, rows: int, features: Features) -> None:
    content = chain(seed)
    library = as_strip(content, rows, features)
    x = random_int8(np.random.default_rng(seed), library.inputs[0].shape)
    np.testing.assert_array_equal(run_c(library, [x])[0], run_reference(content, [x])[0])


def wide_middle() -> bytes:
    """An inverted residual block without its residual: 8 channels, 64 in the middle, 8."""
    rng = np.random.default_rng(0)
    x = T(shape=(1, 24, 24, 8), scale=0.1, zero_point=0)
    expand = layer(rng, x, "CONV_2D", 64, 1, 1, "SAME")
    depthwise = layer(rng, expand.outputs[0], "DEPTHWISE_CONV_2D", 64, 3, 1, "SAME")
    project = layer(rng, depthwise.outputs[0], "CONV_2D", 8, 1, 1, "SAME")
    return model([expand, depthwise, project])


def test_the_wide_middle_of_a_block_never_exists_whole() -> None:
    content = wide_middle()
    fast = compile_tflite(content, name="t", golden=0, features=DSP, optimize="latency=1")
    small = compile_tflite(content, name="t", golden=0, features=DSP, optimize="sram")
    x = random_int8(np.random.default_rng(1), (1, 24, 24, 8))
    assert fast.arena_bytes > 24 * 24 * 64
    assert small.arena_bytes < fast.arena_bytes / 2
    assert all(layer.steps for layer in small.layers)
    np.testing.assert_array_equal(run_c(small, [x])[0], run_reference(content, [x])[0])


def calls_of(content: bytes) -> list[Call]:
    draft = lower(read_graph(content, "t"), Context(features=DSP))
    return [candidates[0] for candidates in draft.candidates]


def test_steps_that_are_alike_become_one_band() -> None:
    whole = strip(calls_of(wide_middle()), 1)
    assert whole.steps == 24
    # The first rows apart from the others, and the last where they are fewer.
    assert [len(bands) for bands in whole.bands] == [2, 3, 1]


def test_no_row_is_made_twice() -> None:
    chain: Strip = strip(calls_of(wide_middle()), 2)
    for call, bands in zip(chain.calls, chain.bands, strict=True):
        made = 0
        for band in bands:
            struct = next(a for a in band.call.arguments if hasattr(a, "fields"))
            made += (band.end - band.first) * struct.fields["output_height"]
        assert call.rows is not None
        assert made == call.rows.output


def test_calls_without_rows_do_not_join() -> None:
    first, second, _ = calls_of(wide_middle())
    assert can_join(first, second)
    assert not can_join(first, replace(second, rows=None))
    assert not can_join(second, first)


def test_the_c_of_a_strip_reads_as_a_loop(tmp_path: Path) -> None:
    library = compile_tflite(wide_middle(), name="t", golden=0, features=DSP, optimize="sram")
    code = library.files["t.c"]
    assert "for (int32_t step = 0; step < 24; step++) {\n        t_layer_00(bytes, step);" in code
    assert "nd_move.c" in library.files
