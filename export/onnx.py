"""PyTorch to ONNX, by torch.onnx, checked by onnx."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.student import first_line
from ndtool.files import replacing
from ndtool.quantize.quiet import quiet


def export_onnx(model: nn.Module, example: Tensor, out: Path) -> None:
    """Write a model as ONNX in float32, batch 1, with its weights inside; input `input`, layout as PyTorch's.

    Args:
        model: from `ready_to_export`.
        example: (1, ...) float32; images are (1, C, H, W).
        out: written whole, or not at all.

    Raises:
        NdtoolError: torch.onnx cannot export it, or what it wrote is not valid.
    """
    with replacing(out) as temporary, quiet():
        import onnx

        try:
            program = torch.onnx.export(model, (example,), dynamo=True, input_names=["input"])
            assert program is not None
            program.save(str(temporary), external_data=False)
            onnx.checker.check_model(str(temporary), full_check=True)
        except Exception as error:
            raise NdtoolError(f"{type(model).__name__}: torch.onnx cannot export it ({first_line(error)})") from error
