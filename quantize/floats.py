"""Float arithmetic inside an int8 model: found, and explained."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ndtool.quantize.tflite import FLOAT_TYPES, kind_of, name_of, operands, type_of
from ndtool.quantize.unsupported import Finding

_GENERAL = "replace it by operators that have an int8 form, or move it behind the model's output"
_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "POW": "write powers as products",
        "SQUARE": "write it as x * x",
        "ARG_MAX": "end the model at its logits and take the largest on the device",
        "TOPK_V2": "end the model at its logits and take the largest on the device",
        "L2_NORMALIZATION": "normalise behind the model's output",
        **dict.fromkeys(("SIN", "COS", "ATAN2"), "compute it before the model's input"),
        **dict.fromkeys(("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), "express the choice by max and min"),
    }
)


def float_operators(model: Any, *, float_ends: bool = False) -> list[Finding]:
    """Operators of a quantised model that compute in float, in the order of the file.

    Args:
        model: from `read_model`.
        float_ends: allow QUANTIZE right at a float input and DEQUANTIZE right at a float output.
    """
    graph = model.subgraphs[0]
    inputs, outputs = set(map(int, graph.inputs)), set(map(int, graph.outputs))
    findings: list[Finding] = []
    conversions: list[Finding] = []
    for op in graph.operators:
        kind = kind_of(model, op)
        tensors = [*operands(op), *map(int, op.outputs)]
        if not any(type_of(graph.tensors[index]) in FLOAT_TYPES for index in tensors):
            continue
        at_input = kind == "QUANTIZE" and inputs.issuperset(operands(op))
        at_output = kind == "DEQUANTIZE" and outputs.issuperset(map(int, op.outputs))
        if float_ends and (at_input or at_output):
            continue
        node = name_of(graph.tensors[op.outputs[0]])
        finding = Finding(
            operator=kind,
            node=node,
            source=module_of(node),
            reason="it stays in float32, ai-edge-quantizer has no int8 form of it",
            remedy=_REMEDIES.get(kind, _GENERAL),
        )
        (conversions if kind in ("QUANTIZE", "DEQUANTIZE") else findings).append(finding)
    return findings or conversions  # the conversions stand around what cannot be converted


def module_of(tensor: str) -> str:
    """The module path in a tensor's name as `export.tflite` writes it: before the operator's own part."""
    return tensor.partition("/")[0] if "/" in tensor else ""
