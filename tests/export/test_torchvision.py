"""Whole networks of torchvision, from PyTorch to int8."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from ndtool.export.predict import in_layout, predict_module, predict_tflite
from ndtool.export.student import outputs_of, ready_to_export
from ndtool.export.tflite import export_tflite
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate

NAMES = ["mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "resnet18", "efficientnet_b0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_torchvision_networks_become_int8(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=10)
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(8, 3, 64, 64))
    example = torch.randn(1, 3, 64, 64)
    ready = ready_to_export(model, example)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
    fp32, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    export_tflite(ready, example, fp32)
    x = torch.randn(8, 3, 64, 64)
    (expected,), (got,) = predict_module(model.eval())(x), predict_tflite(fp32)(x)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    values, _ = in_layout(x, (1, 64, 64, 3), str(fp32))
    quantize_int8(fp32, calibrate(fp32, values), int8)
    (got,) = predict_tflite(int8)(x)
    assert (
        np.square(got - expected).sum()
        < 0.1 * np.square(expected - expected.mean(0)).sum() + 0.01 * np.square(expected).sum()
    )
    assert len(outputs_of(ready, x)) == 1
