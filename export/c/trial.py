"""Libraries that only serve to measure what calls and strips cost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ndtool.export.c.account import library_of, ports
from ndtool.export.c.call import Argument, Call, Constant, Slot, Struct
from ndtool.export.c.choose import Chosen
from ndtool.export.c.emission import Constants, Emission
from ndtool.export.c.ends import Ends
from ndtool.export.c.graph import Graph
from ndtool.export.c.library import CLibrary
from ndtool.export.c.lower import Program
from ndtool.export.c.plan import plan


def trial_library(slots: Sequence[Slot], objective: str) -> CLibrary:
    """A library that executes calls and strips on whatever lies in the arena, with zeros for weights.

    Its layers are theirs, in order, a strip's calls one each.
    """
    program = Program(
        inputs=slots[0].reads[:1], outputs=slots[-1].writes[:1], slots=tuple(map(_blank, slots)), storage={}
    )
    arena = plan(program, search_steps=0)
    emission = Emission(
        name="trial",
        origin="ndtool",
        objective=objective,
        inputs=ports(program.inputs, program.inputs, (None,), arena),
        outputs=ports(program.outputs, program.outputs, (None,), arena),
        slots=program.slots,
        plan=arena,
        constants=Constants("trial", program.calls),
        golden=(),
        pixels=None,
    )
    nothing = Graph(name="trial", inputs=(), outputs=(), ops=())
    ends = Ends(graph=nothing, quantise=(None,), dequantise=(None,))
    return library_of(emission, ends, Chosen(program=program, plan=arena))


def _blank(slot: Slot) -> Slot:
    """The same with zeros for weights: kernels execute the same instructions, and there is less to compile."""
    if isinstance(slot, Call):
        return _blank_call(slot)
    bands = tuple(tuple(replace(band, call=_blank_call(band.call)) for band in each) for each in slot.bands)
    return replace(slot, calls=tuple(map(_blank_call, slot.calls)), bands=bands)


def _blank_call(call: Call) -> Call:
    return replace(call, arguments=tuple(map(_blank_argument, call.arguments)))


def _blank_argument(argument: Argument) -> Argument:
    if isinstance(argument, Constant):
        return _blanked(argument)
    if not isinstance(argument, Struct):
        return argument
    fields = {
        name: _blanked(value) if isinstance(value, Constant) else value for name, value in argument.fields.items()
    }
    return replace(argument, fields=fields)


def _blanked(constant: Constant) -> Constant:
    """Zeros in place of weights; the others are small, and some kernels' loops depend on them."""
    return replace(constant, values=np.zeros_like(constant.values)) if constant.role == "weights" else constant
