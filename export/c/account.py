"""What is known of a compiled model ahead of time: its ports, its layers, and what is alive during each."""

from ndtool.export.c.call import Call, Strip, constants_of
from ndtool.export.c.choose import Chosen
from ndtool.export.c.emission import Emission
from ndtool.export.c.emit import emit
from ndtool.export.c.ends import Ends
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.library import CLibrary, Layer, Port
from ndtool.export.c.plan import Plan


def library_of(e: Emission, ends: Ends, chosen: Chosen) -> CLibrary:
    """The files, and the plan behind them."""
    return CLibrary(
        name=e.name,
        files=emit(e),
        inputs=e.inputs,
        outputs=e.outputs,
        layers=_layers(e, ends, chosen),
        arena_bytes=e.arena_words * 4,
        lower_bound_bytes=e.plan.lower_bound_bytes,
        weight_bytes=e.constants.bytes,
        objective=e.objective,
    )


def ports(
    outer: tuple[Tensor, ...], inner: tuple[Tensor, ...], converters: tuple[Op | None, ...], arena: Plan
) -> tuple[Port, ...]:
    """Inputs or outputs: `outer` as the model has them, `inner` as they lie in the arena."""
    return tuple(
        Port(
            name=own.name,
            shape=tensor.shape,
            dtype="int8",
            scale=tensor.scale[0],
            zero_point=tensor.zero_point[0],
            offset=arena.offset(tensor),
            bytes=tensor.bytes,
            is_float=converter is not None,
        )
        for own, tensor, converter in zip(outer, inner, converters, strict=True)
    )


def _layers(e: Emission, ends: Ends, chosen: Chosen) -> tuple[Layer, ...]:
    """What is known of every call, and of the functions at float ends."""
    layers = []
    for port, op in zip(e.inputs, ends.quantise, strict=True):
        if op is not None:
            layers.append(_end_layer(e, port, op, "quantize_input", -1))
    for first, time, slot in e.placed():
        steps = slot.steps if isinstance(slot, Strip) else None
        layers += [_layer(e, first + i, time, call, steps, chosen) for i, call in enumerate(slot.calls)]
    for port, op in zip(e.outputs, ends.dequantise, strict=True):
        if op is not None:
            layers.append(_end_layer(e, port, op, "dequantize_output", len(e.slots)))
    return tuple(layers)


def _layer(e: Emission, index: int, time: int, call: Call, steps: int | None, chosen: Chosen) -> Layer:
    stored = {e.constants.name(constant): constant for constant in constants_of(call)}
    return Layer(
        symbol=e.layer(index),
        name=call.op.outputs[0].name,
        kind=call.op.kind,
        kernel=call.kernel,
        output_shape=call.op.outputs[0].shape,
        macs=call.macs,
        weight_bytes=sum(constant.values.nbytes for constant in stored.values()),
        live_bytes=e.plan.live_bytes(time),
        live_tensors=_live(e.plan, time),
        alternatives=chosen.alternatives.get(call, ()),
        steps=steps,
    )


def _end_layer(e: Emission, port: Port, op: Op, function: str, time: int) -> Layer:
    return Layer(
        symbol=e.port_name(port, function),
        name=op.outputs[0].name,
        kind=op.kind,
        kernel="nd_quantize" if op.kind == "QUANTIZE" else "nd_dequantize",
        output_shape=op.outputs[0].shape,
        macs=0,
        weight_bytes=0,
        live_bytes=e.plan.live_bytes(time),
        live_tensors=_live(e.plan, time),
    )


def _live(arena: Plan, time: int) -> tuple[tuple[str, int], ...]:
    named = [
        (block.owner.name if isinstance(block.owner, Tensor) else "(scratch)", block.bytes)
        for block, _ in arena.live(time)
    ]
    return tuple(sorted(named, key=lambda pair: (-pair[1], pair[0])))
