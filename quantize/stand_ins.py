"""Operators that LiteRT computes in int8 but ai-edge-quantizer does not know.

It leaves them in float32 between DEQUANTIZE and QUANTIZE. What it would have to know is only how the scales of their
inputs and outputs are bound to each other. So for the time of quantisation each takes the number of an operator that
it knows and that is bound alike; neither operands nor options change.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ndtool.quantize.tflite import code_of, set_code

STAND_INS: Mapping[str, str] = MappingProxyType(
    {
        # every scale is free
        **dict.fromkeys(("LEAKY_RELU", "RELU6", "RELU_N1_TO_1", "ABS", "NEG", "ELU", "EXP", "LOG"), "RELU"),
        "PRELU": "MUL",  # of an input and a constant, scales free
        "MINIMUM": "MAXIMUM",  # inputs take the output's scale
        "REDUCE_MAX": "REDUCE_MIN",  # the output takes the input's scale
        "DEPTH_TO_SPACE": "SPACE_TO_DEPTH",  # the output takes the input's scale
        **dict.fromkeys(("SQUEEZE", "EXPAND_DIMS"), "RESHAPE"),  # the output takes the input's scale
    }
)


def disguise(model: Any) -> dict[int, int]:
    """Give the operators their stand-ins' numbers, in place. Returns the true numbers by entry, for `undisguise`."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    numbers = {getattr(BuiltinOperator, name): getattr(BuiltinOperator, other) for name, other in STAND_INS.items()}
    truth = {}
    for index, entry in enumerate(model.operatorCodes):
        code = code_of(entry)
        if code in numbers:
            truth[index] = code
            set_code(entry, numbers[code])
    return truth


def undisguise(model: Any, truth: Mapping[int, int]) -> None:
    """Restore the true numbers, in place. The quantizer has only added entries to the table of operators."""
    for index, code in truth.items():
        set_code(model.operatorCodes[index], code)
