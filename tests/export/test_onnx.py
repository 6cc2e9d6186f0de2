from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ndtool.errors import NdtoolError
from ndtool.export.onnx import export_onnx
from ndtool.export.predict import predict_module, predict_onnx
from ndtool.export.student import ready_to_export


@pytest.mark.parametrize("name", ["mobile", "dense"])
def test_onnxruntime_equals_pytorch(name: str, exported: Any, tmp_path: Path) -> None:
    case, out = exported(name), tmp_path / "model.onnx"
    export_onnx(ready_to_export(case.module, case.example), case.example, out)
    x = torch.randn(5, *case.example.shape[1:])
    (expected,), (got,) = predict_module(case.module)(x), predict_onnx(out)(x)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    file = onnx.load(out)
    assert [entry.name for entry in file.graph.input] == ["input"]
    assert "BatchNormalization" not in {node.op_type for node in file.graph.node}
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # the weights are inside


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_what_torch_cannot_export_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match=r"torch\.onnx cannot export it") as caught:
        export_onnx(Unexportable(), torch.randn(1, 8), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(NdtoolError, match="onnxruntime cannot load it") as caught:
        predict_onnx(path)
    assert "\n" not in str(caught.value)
