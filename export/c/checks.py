"""What can be compiled. One rule text feeds the check, the error and docs/supported-operators.md."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from ndtool.errors import NdtoolError
from ndtool.export.c.graph import Graph, Op, Tensor
from ndtool.export.c.operators import OPERATORS

# Elements of a computed tensor, and of all of them together: no microcontroller has the memory, and compiling takes
# time and memory in proportion, however small the file is. Constants are no larger than the file.
LARGEST = 1 << 24
LARGEST_SUM = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in a model that cannot be compiled."""

    kind: str  # the operator's, or "input", "output"
    name: str  # of the tensor that the operator writes
    rule: str  # what must hold
    found: str  # what is there instead

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}: {self.rule}; {self.found}"


def find_unsupported(graph: Graph) -> tuple[Finding, ...]:
    """Everything that keeps a graph (its float ends taken off) from being compiled, in the graph's order."""
    found = [_end("input", tensor) for tensor in graph.inputs]
    found += [_operator(op) for op in graph.ops]
    found += [_end("output", tensor) for tensor in graph.outputs]
    return tuple(finding for finding in found if finding is not None)


def check(graph: Graph) -> None:
    """Refuse a graph (its float ends taken off) that cannot be compiled.

    Raises:
        NdtoolError: one line with every finding; operators that break the same rule are named together.
    """
    _check_arithmetic(graph)
    _check_size(graph)
    findings = find_unsupported(graph)
    if findings:
        raise NdtoolError(f"{graph.name}: {'; '.join(_grouped(findings))}: `ndtool list ops` shows what is supported")


def _check_arithmetic(graph: Graph) -> None:
    """A model that is not int8 anywhere gets one plain answer in place of a finding for every operator."""
    types = {tensor.dtype for tensor in graph.inputs} | {tensor.dtype for op in graph.ops for tensor in op.outputs}
    if "int8" in types or not types & {"float32", "float16", "uint8", "int16"}:
        return
    if types & {"uint8", "int16"}:
        how = "quantise the float model anew: ndtool export MODEL --int8 --data DATA"
    else:
        how = f"quantise it: ndtool export {graph.name} --int8 --data DATA"
    raise NdtoolError(f"{graph.name} computes in {', '.join(sorted(types))}, and only int8 models become C: {how}")


def _check_size(graph: Graph) -> None:
    """Refuse a graph of a few bytes that stands for more work than any real one."""
    computed = {tensor for op in graph.ops for tensor in op.outputs} | set(graph.inputs)
    total = sum(math.prod(tensor.shape) for tensor in computed if min(tensor.shape, default=1) > 0)
    if total > LARGEST_SUM:
        raise NdtoolError(
            f"{graph.name}: its tensors have {total} elements together, which is too large: make it smaller"
        )


def supported_operators() -> str:
    """The page of supported operators, in Markdown."""
    lines = [
        "# Operators of the C compiler",
        "",
        "Made from the rules that the compiler checks. Every operator gives the bytes of LiteRT's reference kernels.",
        "",
        f"- Every graph: {_end_is_int8.__doc__}; {_sizes_are_known.__doc__}.",
    ]
    for kind, operator in sorted(OPERATORS.items()):
        lines += ["", f"## {kind}", ""]
        lines += [f"- {_text(rule)}" for rule in operator.rules]
    return "\n".join(lines) + "\n"


def _text(rule: object) -> str:
    return (rule.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _end_is_int8(tensor: Tensor) -> str | None:
    """inputs and outputs must be int8, or float32 that is quantised first and dequantised last"""
    return None if tensor.dtype == "int8" and len(tensor.scale) == 1 else f"it is {tensor.dtype}"


def _sizes_are_known(tensors: Iterable[Tensor]) -> str | None:
    """the size of every tensor must be known, at least 1 in each dimension"""
    for tensor in tensors:
        if any(size < 0 or (size == 0 and tensor.data is None) for size in tensor.shape):
            return f"{tensor.name!r} is {list(tensor.shape)}"
        elements = math.prod(tensor.shape)
        if elements > LARGEST and tensor.data is None:
            return f"{tensor.name!r} of {list(tensor.shape)} is too large"
    return None


def _end(which: str, tensor: Tensor) -> Finding | None:
    for rule, found in ((_sizes_are_known, _sizes_are_known([tensor])), (_end_is_int8, _end_is_int8(tensor))):
        if found:
            return Finding(kind=which, name=tensor.name, rule=_text(rule), found=found)
    return None


def _operator(op: Op) -> Finding | None:
    name = op.outputs[0].name if op.outputs else f"operator {op.index}"
    operator = OPERATORS.get(op.kind)
    if operator is None:
        return Finding(kind=op.kind, name=name, rule="the operator must be a supported one", found="it is not")
    present = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None]
    if found := _sizes_are_known(present):
        return Finding(kind=op.kind, name=name, rule=_text(_sizes_are_known), found=found)
    for rule in operator.rules:
        if found := rule(op):
            return Finding(kind=op.kind, name=name, rule=_text(rule), found=found)
    return None


def _grouped(findings: tuple[Finding, ...]) -> list[str]:
    """One text for each rule that is broken, with the operators that break it."""
    ordered = sorted(findings, key=lambda finding: (finding.kind, finding.rule))
    texts = []
    for (kind, rule), group in groupby(ordered, key=lambda finding: (finding.kind, finding.rule)):
        members = list(group)
        names = ", ".join(repr(finding.name) for finding in members[:3])
        more = f" and {len(members) - 3} more" if len(members) > 3 else ""
        texts.append(f"{kind} {names}{more}: {rule}; {members[0].found}")
    return texts
