"""Random graphs of several operators against the reference: lifetimes, shared memory, aliases and fusions together."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ndtool.export.c.context import Features
from ndtool.tests.export.c.harness import DSP, O, T, check_kernel, constant, model, random_int8

FUNCTIONS = ["RELU", "RELU6", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "TANH", "QUANTIZE", "ABS", "GELU"]
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # which would take minutes


class Maker:
    """A random graph of images: every operator reads tensors that are there already, not only the newest."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.ops: list[O] = []
        first = self.new((1, self.pick(4, 9), self.pick(4, 9), self.pick(1, 6)))
        self.images = [first]

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def new(self, shape: tuple[int, ...], like: T | None = None) -> T:
        if like is not None:
            return T(shape=shape, scale=like.scale, zero_point=like.zero_point)
        return T(shape=shape, scale=float(np.float32(self.rng.uniform(0.02, 0.2))), zero_point=self.pick(-128, 127))

    def image(self) -> T:
        """An image, more often a late one."""
        back = min(int(self.rng.geometric(0.5)), len(self.images))
        return self.images[-back]

    def add(self, kind: str, inputs: list[T], output: T, **options: object) -> T:
        self.ops.append(O(kind, inputs, [output], options))
        self.images.append(output)
        return output

    # operators

    def function(self) -> None:
        x, kind = self.image(), str(self.rng.choice(FUNCTIONS))
        output = self.new(tuple(x.shape))
        if kind == "LOGISTIC":
            output.scale, output.zero_point = 1 / 256, -128
        elif kind in ("RELU", "QUANTIZE") and self.pick(0, 1):
            output = self.new(tuple(x.shape), like=x)
        self.add(kind, [x], output, **({"alpha": 0.1} if kind == "LEAKY_RELU" else {}))

    def binary(self) -> None:
        x = self.image()
        others = [t for t in self.images if tuple(t.shape) == tuple(x.shape)]
        y = others[self.pick(0, len(others) - 1)]
        if self.pick(0, 2) == 0:
            values = random_int8(self.rng, (1, 1, 1, x.shape[3] if self.pick(0, 1) else 1))
            y = constant(values, "int8", scale=0.1, zero_point=self.pick(-128, 127))
        kind = str(self.rng.choice(["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"]))
        pair = [x, y] if self.pick(0, 1) else [y, x]
        options = {} if kind in ("MAXIMUM", "MINIMUM") else {"fusedActivationFunction": self.activation()}
        self.add(kind, pair, self.new(tuple(x.shape)), **options)

    def activation(self) -> str:
        return str(self.rng.choice(["NONE", "RELU", "RELU6"]))

    def convolution(self) -> None:
        x = self.image()
        _, height, width, channels = x.shape
        kernel, stride, out = self.pick(1, min(3, height, width)), self.pick(1, 2), self.pick(1, 6)
        depthwise = bool(self.pick(0, 1))
        out = channels * self.pick(1, 2) if depthwise else out
        padding = str(self.rng.choice(["SAME", "VALID"]))
        shape = (1, kernel, kernel, out) if depthwise else (out, kernel, kernel, channels)
        scales = [float(np.float32(s)) for s in self.rng.uniform(0.001, 0.02, out)]
        weights = constant(
            np.maximum(random_int8(self.rng, shape), -127), "int8", scale=scales, axis=3 if depthwise else 0
        )
        bias = constant(
            self.rng.integers(-2000, 2000, out), "int32", scale=[float(np.float32(x.scale * s)) for s in scales]
        )
        sizes = [-(-n // stride) if padding == "SAME" else -(-(n - kernel + 1) // stride) for n in (height, width)]
        options = {"padding": padding, "strideW": stride, "strideH": stride, "dilationWFactor": 1, "dilationHFactor": 1}
        options["fusedActivationFunction"] = self.activation()
        if depthwise:
            options["depthMultiplier"] = out // channels
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self.add(kind, [x, weights, bias], self.new((1, *sizes, out)), **options)

    def pool(self) -> None:
        x = self.image()
        _, height, width, channels = x.shape
        size = self.pick(1, min(3, height, width))
        output = self.new((1, -(-height // size), -(-width // size), channels), like=x)
        options = {"padding": "SAME", "filterWidth": size, "filterHeight": size, "strideW": size, "strideH": size}
        kind = str(self.rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        self.add(kind, [x], output, fusedActivationFunction="NONE", **options)

    def pad(self) -> None:
        x = self.image()
        pairs = [(0, 0), *[(self.pick(0, 2), self.pick(0, 2)) for _ in range(2)], (0, self.pick(0, 1))]
        shape = tuple(n + sum(pair) for n, pair in zip(x.shape, pairs, strict=True))
        self.add("PAD", [x, constant(pairs)], self.new(shape, like=x))

    def transpose(self) -> None:
        x = self.image()
        order = (0, *(1 + self.rng.permutation(3)))
        self.add("TRANSPOSE", [x, constant(order)], self.new(tuple(x.shape[axis] for axis in order), like=x))

    def reshape(self) -> None:
        x = self.image()
        shape = (1, x.shape[2], x.shape[1], x.shape[3])
        self.add("RESHAPE", [x, constant(shape)], self.new(shape, like=x), newShape=shape)

    def concatenation(self) -> None:
        x = self.image()
        quantised = (x.scale, x.zero_point)
        alike = [t for t in self.images if t.shape[:3] == x.shape[:3] and (t.scale, t.zero_point) == quantised]
        y = alike[self.pick(0, len(alike) - 1)]
        self.add("CONCATENATION", [x, y], self.new((*x.shape[:3], x.shape[3] + y.shape[3]), like=x), axis=3)

    def part(self) -> None:
        x = self.image()
        begin = [self.pick(0, n - 1) // 2 for n in x.shape]
        size = [n - b for n, b in zip(x.shape, begin, strict=True)]
        self.add("SLICE", [x, constant(begin), constant(size)], self.new(tuple(size), like=x))

    def split(self) -> None:
        x = self.image()
        if x.shape[3] % 2:
            return
        halves = [self.new((*x.shape[:3], x.shape[3] // 2), like=x) for _ in range(2)]
        self.ops.append(O("SPLIT", [constant([3]), x], halves, {"numSplits": 2}))
        self.images += halves

    def softmax(self) -> None:
        x = self.image()
        self.add("SOFTMAX", [x], T(shape=x.shape, scale=1 / 256, zero_point=-128), beta=1.0)

    def resize(self) -> None:
        x = self.image()
        if x.shape[1] * x.shape[2] > 150:
            return
        size = (x.shape[1] * 2, x.shape[2] * 2)
        output = self.new((1, *size, x.shape[3]), like=x)
        self.add("RESIZE_NEAREST_NEIGHBOR", [x, constant(size)], output, alignCorners=False, halfPixelCenters=False)

    def grow(self, steps: int) -> None:
        kinds: list[Callable[[], None]] = [
            *[self.function, self.binary, self.convolution] * 2,
            *[self.pool, self.pad, self.transpose, self.reshape, self.concatenation, self.part, self.split],
            *[self.softmax, self.resize],
        ]
        while len(self.ops) < steps:
            kinds[self.pick(0, len(kinds) - 1)]()

    def outputs(self) -> list[T]:
        """What nothing reads, and sometimes a tensor in the middle."""
        made = [t for op in self.ops for t in op.outputs]
        read = {t for op in self.ops for t in op.inputs}
        return [t for t in made if t not in read or self.pick(0, 9) == 0]


def check_graph(seed: int, steps: int, features: Features | None = None) -> None:
    maker = Maker(seed)
    maker.grow(steps)
    content = model(maker.ops, inputs=maker.images[:1], outputs=maker.outputs())
    check_kernel(content, random_int8(maker.rng, maker.images[0].shape), features=features)


@settings(max_examples=40, deadline=None, phases=WITHOUT_SHRINKING)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15))
def test_random_graphs_are_the_references(seed, steps):
    check_graph(seed, steps)


@settings(max_examples=20, deadline=None, phases=WITHOUT_SHRINKING)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
def test_random_graphs_by_the_dsp_extensions_kernels_are_the_references(seed, steps):
    check_graph(seed, steps, DSP)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, phases=WITHOUT_SHRINKING)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_many_random_graphs_are_the_references(seed, steps):
    check_graph(seed, steps)
