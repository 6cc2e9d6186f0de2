"""Short, distinct tensor names in place of litert-torch's: the path of the module that a tensor comes from.

A tensor is called `PATH/KIND`, as in `features.3.conv/conv_2d`, its constants `PATH/KIND/0`, …, the ends `input` and
`output`. What is computed between modules has the path of the module around it, or none.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from ndtool.quantize.tflite import is_constant, kind_of, name_of, operands

_WRAPPED = "wrapped"  # the attribute of litert-torch's wrapper that holds the user's model
_WEIGHTED = ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv", "conv_3d")


def rename_tensors(model: Any, module: nn.Module) -> None:
    """Name the tensors of a file that was just converted from `module`, in place.

    Args:
        model: from `quantize.tflite.read_model`; its names are litert-torch's: chains of `class_attribute`.
        module: what was converted, litert-torch's wrapper; its children are looked up by class and attribute.
    """
    graph = model.subgraphs[0]
    names = {int(index): name for index, name in _ends(graph)}
    taken = set(names.values())
    for op in graph.operators:
        kind = kind_of(model, op).lower()
        path = module_path(name_of(graph.tensors[op.outputs[0]]), module, kind).removeprefix(_WRAPPED).removeprefix(".")
        base = _distinct(f"{path}/{kind}" if path else kind, taken)
        for position, index in enumerate(map(int, op.outputs)):
            names.setdefault(index, base if position == 0 else f"{base}:{position}")
        for position, index in enumerate(operands(op)):
            if is_constant(model, graph.tensors[index]):
                names.setdefault(index, f"{base}/{position}")
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, f"unused:{index}").encode()


def module_path(name: str, module: nn.Module, kind: str = "") -> str:
    """The path in `module` of the module that a name of litert-torch's speaks of.

    Such a name joins locations by ';;', each the classes and attributes from the root down, as in
    `pkg.Net/torch.nn.modules.container.Sequential_features/torch.nn.modules.conv.Conv2d_0;`. Behind the operator's own
    come those of what is fused with it, and of where a constant that it shares was met first. `kind` is TFLite's, in
    lower case: one with weights is the first location whose module has some, any other the first.
    """
    paths = [_descend(location.split(";")[0].split("/")[1:], module) for location in name.split(";;")]
    if kind in _WEIGHTED:
        modules = dict(module.named_modules())
        paths.sort(key=lambda path: not any(True for _ in modules[path].parameters(recurse=False)))
    return next((path for path in paths if path), "")


def _descend(steps: list[str], module: nn.Module) -> str:
    path = ""
    for step in steps:
        for name, child in module.named_modules():
            kind = f"{type(child).__module__}.{type(child).__qualname__}"
            if name and step == f"{kind}_{name.rsplit('.', 1)[-1]}":  # lists of modules are no step of their own
                path, module = f"{path}.{name}" if path else name, child
                break
        else:
            return path
    return path


def _ends(graph: Any) -> Iterator[tuple[int, str]]:
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for position, index in enumerate(indices):
            yield index, what if len(indices) == 1 else f"{what}_{position}"


def _distinct(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
