"""PyTorch to TFLite in float32, by litert-torch."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.student import first_line, outputs_of
from ndtool.export.tensor_names import rename_tensors
from ndtool.files import write_atomic
from ndtool.quantize.quiet import quiet
from ndtool.quantize.tflite import read_model, write_model
from ndtool.quantize.unsupported import Finding, UnsupportedOperators


def export_tflite(model: nn.Module, example: Tensor, out: Path) -> None:
    """Write a model as TFLite in float32, batch 1.

    Tensors of four axes are images: the file takes and returns them as NHWC. Others pass as they are.

    Args:
        model: from `ready_to_export`.
        example: (1, ...) float32; images are (1, C, H, W).
        out: written whole, or not at all.

    Raises:
        UnsupportedOperators: operators that cannot be converted, all of them.
        NdtoolError: PyTorch cannot export the model, or litert-torch cannot convert it.
    """
    outputs = outputs_of(model, example)
    images = [position for position, output in enumerate(outputs) if output.ndim == 4]
    with quiet():
        import litert_torch

        from ndtool.export.lowering import rewrites

        is_image = example.ndim == 4
        wrapped = litert_torch.to_channel_last_io(model, args=[0] if is_image else [], outputs=images).eval()
        sample = example.permute(0, 2, 3, 1).contiguous() if is_image else example
        with rewrites():
            try:
                converted = litert_torch.convert(wrapped, (sample,))._exporter.to_bytes()
            except Exception as error:
                raise _explain(model, example, error) from error
    file = read_model(bytes(converted))
    rename_tensors(file, wrapped)
    write_atomic(out, write_model(file))


def _explain(model: nn.Module, example: Tensor, error: Exception) -> NdtoolError:
    """What a failed conversion means: PyTorch's export failed, operators are unknown, or something else."""
    try:
        exported = torch.export.export(model, (example,))
    except Exception as cause:  # noqa: BLE001 - it runs the user's forward
        remedy = "let forward not depend on the values of tensors"
        return NdtoolError(f"{_title(model)}: PyTorch cannot export it ({first_line(cause)}): {remedy}")
    if findings := _unknown_operators(exported):
        return UnsupportedOperators(_title(model), findings)
    return NdtoolError(
        f"{_title(model)}: litert-torch cannot convert it ({first_line(error)}): simplify the model there"
    )


def _unknown_operators(exported: Any) -> list[Finding]:
    from litert_torch.backend.lowerings import registry
    from litert_torch.fx_infra import decomp

    program = exported.run_decompositions(decomp.pre_lower_decomp())
    unknown = [
        node
        for node in program.graph.nodes
        if node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and registry.lookup(node.target) is None
    ]
    return [
        Finding(
            operator=str(node.target),
            node=node.name,
            source=_source(node),
            reason="litert-torch cannot convert it to TFLite",
            remedy="replace it by basic operators, or move it behind the model's output",
        )
        for node in unknown
    ]


def _source(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return next((path for path, _ in reversed(list(stack.values()))), "")


def _title(model: nn.Module) -> str:
    return type(model).__name__
