"""Generated libraries, portable ones and those of the DSP extension, under AddressSanitizer and UBSan."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndtool.export.c import emit
from ndtool.export.c.context import Features
from ndtool.tests.export.c.clean import run_clean
from ndtool.tests.export.c.harness import DSP, O, T, model
from ndtool.tests.export.c.mutations import operators
from ndtool.tests.export.c.test_graphs import WITHOUT_SHRINKING, Maker
from ndtool.tests.export.c.test_rewrites import padded_windows

FEATURES = {"portable": Features(), "dsp": DSP}
every_feature = pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)


def quietly(examples: int) -> settings:
    checks = list(HealthCheck)
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks, phases=WITHOUT_SHRINKING)


@pytest.mark.slow
@every_feature
@pytest.mark.parametrize("name", ["ad", "ic", "kws", "mcunet_vww", "vww"])
def test_the_reference_models_are_clean(shared, tmp_path, name, features):
    run_clean(shared / "models" / f"{name}.tflite", tmp_path / "c", features=features)


def layers_are_clean(tmp_path_factory: pytest.TempPathFactory, ops: list[O], features: Features) -> None:
    run_clean(model(ops), tmp_path_factory.mktemp("clean") / "c", features=features)


@every_feature
@given(ops=st.lists(operators, min_size=30, max_size=60))
@quietly(2)
def test_some_random_layers_are_clean(tmp_path_factory, features, ops):
    layers_are_clean(tmp_path_factory, ops, features)


@pytest.mark.slow
@every_feature
@given(ops=st.lists(operators, min_size=30, max_size=60))
@quietly(40)
def test_random_layers_are_clean(tmp_path_factory, features, ops):
    layers_are_clean(tmp_path_factory, ops, features)


@pytest.mark.slow
@every_feature
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 40))
@quietly(40)
def test_random_graphs_are_clean(tmp_path_factory, features, seed, steps):
    maker = Maker(seed)
    maker.grow(steps)
    content = model(maker.ops, inputs=maker.images[:1], outputs=maker.outputs())
    run_clean(content, tmp_path_factory.mktemp("clean") / "c", features=features)


@pytest.mark.slow
@every_feature
@given(pairs=st.lists(padded_windows(), min_size=4, max_size=8))
@quietly(8)
def test_fused_layers_are_clean(tmp_path_factory, features, pairs):
    layers_are_clean(tmp_path_factory, [op for pair in pairs for op in pair], features)


def test_a_kernel_that_leaves_its_tensors_is_noticed(tmp_path, monkeypatch):
    """This net itself: a kernel goes on into the next tensor, which is inside the arena."""
    source = emit.kernel_source

    def spoiled(file: str) -> str:
        return source(file).replace("i < size; i++", "i < size + 8; i++")

    a, b, c, d = (T(shape=(1, 64), scale=0.1, zero_point=zero_point) for zero_point in (0, 3, -3, 9))
    content = model([O("ABS", [a], [b]), O("ABS", [c], [d])])
    run_clean(content, tmp_path / "sound", golden=0)
    monkeypatch.setattr(emit, "kernel_source", spoiled)
    with pytest.raises(AssertionError, match=r"use-after-poison(.|\n)*nd_lookup"):
        run_clean(content, tmp_path / "spoiled", golden=0)
