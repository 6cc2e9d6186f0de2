"""What the printers of C are given: a finished plan and the names in it. They add nothing but text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ndtool.export.c.call import Call, Constant, Slot, constants_of
from ndtool.export.c.identifiers import unique
from ndtool.export.c.library import Port
from ndtool.export.c.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """One inference as LiteRT's reference kernels compute it, at the int8 ends."""

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Emission:
    """A library about to be printed."""

    name: str  # a C identifier
    origin: str  # "ndtool 0.1.0 from kws.tflite (sha256 1f3a9c02...)"
    objective: str  # what kernels were chosen for
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    slots: tuple[Slot, ...]
    plan: Plan
    constants: "Constants"
    golden: tuple[Golden, ...]
    pixels: np.ndarray | None  # (channels, 256) int8: the input's value of each pixel value

    @property
    def macro(self) -> str:
        """The prefix of macros."""
        return self.name.upper()

    @property
    def arena_words(self) -> int:
        """The arena in words of 4 bytes; at least one, as C has no empty arrays."""
        return max(1, self.plan.arena_bytes // 4)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every kernel call: a layer each."""
        return tuple(call for slot in self.slots for call in slot.calls)

    def placed(self) -> Iterator[tuple[int, int, Slot]]:
        """The first layer, the time and the call or strip of everything that is executed, in order."""
        index = 0
        for time, slot in enumerate(self.slots):
            yield index, time, slot
            index += len(slot.calls)

    def layer(self, index: int) -> str:
        """The C function of a call."""
        return layer_name(self.name, index, len(self.calls))

    def port_name(self, port: Port, stem: str) -> str:
        """A function of an input or output, e.g. kws_input or, where there are several, kws_input_1."""
        ports = self.inputs if port in self.inputs else self.outputs
        return f"{self.name}_{stem}" + (f"_{ports.index(port)}" if len(ports) > 1 else "")

    def parameter(self, qualifier: str = "") -> str:
        """The arena as a parameter of a public function; its type carries its size."""
        return f"{qualifier}uint32_t arena[{self.macro}_ARENA_WORDS]"


def layer_name(library: str, index: int, count: int) -> str:
    """The C function of call `index` of `count`, e.g. kws_layer_03."""
    return f"{library}_layer_{index:0{max(2, len(str(count - 1)))}}"


class Constants:
    """The arrays of the weights file: equal contents are stored once, named after their first use."""

    def __init__(self, library: str, calls: Sequence[Call]):
        self._names: dict[tuple[str, bytes], str] = {}
        self.arrays: dict[str, np.ndarray] = {}
        wanted: dict[tuple[str, bytes], tuple[str, np.ndarray]] = {}
        for index, call in enumerate(calls):
            layer = layer_name(library, index, len(calls))
            for constant in constants_of(call):
                wanted.setdefault(_key(constant), (f"{layer}_{constant.role}", constant.values))
        names = unique([name for name, _ in wanted.values()])
        for name, (key, (_, values)) in zip(names, wanted.items(), strict=True):
            self._names[key] = name
            self.arrays[name] = values

    def name(self, constant: Constant) -> str:
        """The C array that holds a constant."""
        return self._names[_key(constant)]

    @property
    def bytes(self) -> int:
        """The size of all arrays."""
        return sum(values.nbytes for values in self.arrays.values())


def _key(constant: Constant) -> tuple[str, bytes]:
    return str(constant.values.dtype), np.ascontiguousarray(constant.values).tobytes()
