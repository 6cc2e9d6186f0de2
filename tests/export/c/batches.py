"""Random operators, many in one model: one compilation and one run compare all with the reference."""

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ndtool.export.c.context import Features
from ndtool.tests.export.c.harness import O, T, check_kernel, model, random_int8

Draw = Callable[[st.SearchStrategy], int | float]


def scales(low: float = 1e-5, high: float = 1e2) -> st.SearchStrategy[float]:
    """Scales as a model file holds them, over orders of magnitude."""
    exponents = st.floats(np.log10(low), np.log10(high))
    return exponents.map(lambda exponent: float(np.float32(10.0**exponent)))


zero_points = st.one_of(st.integers(-128, 127), st.sampled_from([-128, 0, 127]))
activations = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])


def shapes(least: int = 1, most: int = 4, largest: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of `least` to `most` axes."""
    return st.lists(st.integers(1, largest), min_size=least, max_size=most).map(tuple)


@st.composite
def tensors(draw: Draw, shape: Sequence[int], like: T | None = None) -> T:
    """An int8 tensor that is computed, quantised anew or as another."""
    if like is not None:
        return T(shape=shape, scale=like.scale, zero_point=like.zero_point)
    return T(shape=shape, scale=draw(scales()), zero_point=draw(zero_points))


def check_batch(ops: Sequence[O], seed: int, features: Features | None = None) -> None:
    """Independent operators, together in one model, give the reference's bytes on random inputs."""
    rng = np.random.default_rng(seed)
    content = model(ops)
    inputs = list(dict.fromkeys(t for op in ops for t in op.inputs if t is not None and t.data is None))
    check_kernel(content, *(random_int8(rng, t.shape) for t in inputs), features=features)


def batched(
    operators: st.SearchStrategy[O], examples: int = 10, size: int = 16
) -> Callable[[Callable[..., None]], Callable]:
    """Decorate a test of (ops, seed) to get batches of random operators. They are not shrunk: that takes minutes."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        strategy = given(ops=st.lists(operators, min_size=size // 2, max_size=size), seed=st.integers(0, 2**32 - 1))
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
        phases = (Phase.explicit, Phase.reuse, Phase.generate)
        options = settings(max_examples=examples, deadline=None, suppress_health_check=checks, phases=phases)
        return options(strategy(test))

    return decorate
