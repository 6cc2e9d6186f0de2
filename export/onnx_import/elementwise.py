"""Operators that work element by element, and Softmax."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from ndtool.export.onnx_import.emit import Call, Value
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.reader import FLOATS

Converter = Callable[[Call], Value]


def unary(function: Callable[..., Any], **attributes: tuple[str, float]) -> Converter:
    """An operator of one input; `attributes` maps the function's keyword to ONNX's attribute and its default."""

    def convert(op: Call) -> Value:
        keywords = {keyword: op.attribute(name, default) for keyword, (name, default) in attributes.items()}
        return op.call(function, op.tensor(0), **keywords)

    return convert


def binary(function: Callable[..., Any]) -> Converter:
    """An operator of two inputs that broadcast."""

    def convert(op: Call) -> Value:
        return op.call(function, *_operands(op))

    return convert


def variadic(function: Callable[..., Any]) -> Converter:
    """An operator of one input or more that broadcast, such as Sum."""

    def convert(op: Call) -> Value:
        result, *others = (op.tensor(index) for index in range(len(op.inputs)))
        for index, other in enumerate(others, 2):
            result = op.call(function, result, other, part="" if index == len(op.inputs) else f"first_{index}")
        return result

    return convert


def multiply(op: Call) -> Value:
    """Mul; x * hardsigmoid(x), as exporters write it where HardSwish is no operator, becomes hardswish(x)."""
    a, b = _operands(op)
    for gate, x in ((a, b), (b, a)):
        if isinstance(gate, fx.Node) and gate.target is F.hardsigmoid and gate.args[0] is x:
            return op.call(F.hardswish, x)
    return op.call(operator.mul, a, b)


def divide(op: Call) -> Value:
    """Div; by a constant it is a multiplication, which microcontrollers have a kernel for."""
    divisor = op.value(1)
    if isinstance(divisor, np.ndarray) and np.all(divisor != 0) and np.issubdtype(divisor.dtype, np.floating):
        reciprocal = np.divide(1.0, divisor.astype(np.float64)).astype(np.float32)
        x = op.tensor(0)
        return op.call(operator.mul, x, _scalar_or_buffer(op, reciprocal, op.shape(x)))
    return op.call(operator.truediv, *_operands(op))


def power(op: Call) -> Value:
    """Pow; squares become products."""
    exponent = op.value(1)
    if isinstance(exponent, np.ndarray) and exponent.size == 1 and exponent.item() == 2:
        return op.call(operator.mul, op.tensor(0), op.tensor(0))
    return op.call(operator.pow, *_operands(op))


def extremum(function: Callable[..., Any], bound: str) -> Converter:
    """Max or Min; against one constant number it is a clamp (`bound`: torch.clamp's keyword)."""
    general = variadic(function)

    def convert(op: Call) -> Value:
        numbers = [x for x in op.inputs if isinstance(x, np.ndarray)]
        tensors = [x for x in op.inputs if isinstance(x, fx.Node)]
        if len(op.inputs) == 2 and len(numbers) == 1 and _is_number(numbers[0], op.shape(tensors[0])):
            limit = numbers[0].item()
            if bound == "min" and limit == 0:
                return op.call(F.relu, tensors[0])
            return op.call(torch.clamp, tensors[0], **{bound: limit})
        return general(op)

    return convert


def clip(op: Call) -> Value:
    """Clip; its limits are attributes before operator set 11 and inputs after."""
    low, high = _limit(op, 1, "min"), _limit(op, 2, "max")
    x = op.tensor(0)
    if low == 0 and high in (None, math.inf):
        return op.call(F.relu, x)
    if low == 0 and high == 6:
        return op.call(F.relu6, x)
    return x if low is None and high is None else op.call(torch.clamp, x, min=low, max=high)


def _limit(op: Call, index: int, name: str) -> float | None:
    value = op.attribute(name) if name in op.node.attributes else op.constant(index, name)
    if value is None:
        return None
    number = float(np.asarray(value).item())
    # older exporters write "no limit" as the largest float
    return None if abs(number) >= float(np.finfo(np.float32).max) else number


def hard_sigmoid(op: Call) -> Value:
    """HardSigmoid: max(0, min(1, alpha * x + beta))."""
    alpha, beta = op.attribute("alpha", 0.2), op.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-3) and math.isclose(beta, 0.5):
        return op.call(F.hardsigmoid, op.tensor(0))
    line = op.call(operator.add, op.call(operator.mul, op.tensor(0), alpha, part="scaled"), beta, part="line")
    return op.call(torch.clamp, line, min=0.0, max=1.0)


def gelu(op: Call) -> Value:
    """Gelu, exact or by tanh."""
    return op.call(F.gelu, op.tensor(0), approximate=op.attribute("approximate", "none"))


def softmax(function: Callable[..., Any]) -> Converter:
    """Softmax or LogSoftmax; before operator set 13 over all axes from `axis` on."""

    def convert(op: Call) -> Value:
        x, newer = op.tensor(0), op.node.version >= 13
        shape = op.shape(x)
        axis = op.attribute("axis", -1 if newer else 1) % max(len(shape), 1)
        if newer or all(size == 1 for size in shape[axis + 1 :]):
            return op.call(function, x, dim=axis)
        flat = op.call(torch.reshape, x, (*shape[:axis], -1), part="flat")
        return op.call(torch.reshape, op.call(function, flat, dim=-1, part="rows"), shape)

    return convert


def cast(op: Call) -> Value:
    """Cast between float types: everything is float32 here."""
    if op.attribute("to") not in FLOATS:
        raise UnsupportedError("it makes integers or truth values of computed values", "end the model before it")
    return op.tensor(0)


def identity(op: Call) -> Value:
    """Identity, and Dropout in evaluation."""
    if op.node.operator == "Dropout" and op.value(2) is not None and bool(op.required(2, "training mode")):
        raise UnsupportedError("it is in training mode", "export the model in evaluation mode (model.eval())")
    return op.value(0)


def _operands(op: Call) -> tuple[Any, Any]:
    """The two inputs; one constant number is passed as it is."""
    a, b = op.value(0), op.value(1)
    first = _scalar_or_buffer(op, a, op.shape(b)) if isinstance(a, np.ndarray) and b is not None else op.tensor(0)
    second = _scalar_or_buffer(op, b, op.shape(a)) if isinstance(b, np.ndarray) and a is not None else op.tensor(1)
    return first, second


def _scalar_or_buffer(op: Call, value: np.ndarray, other: tuple[int, ...]) -> float | fx.Node:
    return float(value.item()) if _is_number(value, other) else op.buffer(value)


def _is_number(value: np.ndarray, other: tuple[int, ...]) -> bool:
    """Whether a Python number stands for it: one element, and no axes beyond those of the other operand."""
    return value.size == 1 and value.ndim <= len(other)
