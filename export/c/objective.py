"""What kernels are chosen for."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from types import MappingProxyType

from ndtool.errors import NdtoolError

QUANTITIES = ("latency", "sram", "flash")

# The named objectives. The small weights decide between solutions that are otherwise as good: they keep a kernel of
# several hundred bytes from being taken along for a gain of nothing, and make strips where they cost next to nothing.
NAMED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "latency": {"latency": 1.0, "sram": 0.02, "flash": 0.02},
        "sram": {"sram": 1.0, "latency": 0.1, "flash": 0.002},
        "flash": {"flash": 1.0, "latency": 0.01},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a program costs: latency in whatever is measured (instructions, cycles), the others in bytes."""

    latency: float
    sram: float
    flash: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A weighted product of the three quantities, to be made small: 1 % of a quantity counts as much as its weight."""

    name: str
    weights: Mapping[str, float]

    def score(self, values: Values) -> float:
        """The smaller, the better."""
        amounts = {name: getattr(values, name) for name in QUANTITIES}
        return sum(weight * log(max(amounts[name], 1.0)) for name, weight in self.weights.items())

    @property
    def is_flash(self) -> bool:
        """Whether flash counts most: then kernels are compiled for size."""
        return self.weight("flash") > max(self.weight("latency"), self.weight("sram"))

    @property
    def compiler_flag(self) -> str:
        """The level of optimisation that goes with it, for gcc and clang."""
        return "-Os" if self.is_flash else "-O3"

    def weight(self, quantity: str) -> float:
        """How much a quantity counts."""
        return self.weights.get(quantity, 0.0)


def parse_objective(text: str) -> Objective:
    """Read `latency`, `sram`, `flash`, or weights as in `latency=1,sram=0.5`.

    Raises:
        NdtoolError: it is neither.
    """
    if text in NAMED:
        return Objective(name=text, weights=NAMED[text])
    weights: dict[str, float] = {}
    for item in text.split(","):
        quantity, _, weight = (part.strip() for part in item.partition("="))
        try:
            weights[quantity] = float(weight)
        except ValueError:
            weights[quantity] = -1.0
        if quantity not in QUANTITIES or not 0 <= weights[quantity] <= 1e6:
            raise NdtoolError(
                f"{text!r} is no objective: give {', '.join(NAMED)}, or weights such as latency=1,sram=0.5"
            )
    if not any(weights.values()):
        raise NdtoolError(f"{text!r} weighs nothing: give one of {', '.join(QUANTITIES)} a weight above 0")
    return Objective(name=text, weights=weights)
