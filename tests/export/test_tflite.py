import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.predict import in_layout, predict_module, predict_tflite
from ndtool.export.tflite import export_tflite
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate
from ndtool.quantize.runtime import TFLiteModel
from ndtool.quantize.tflite import kind_of, name_of, read_model, type_of
from ndtool.quantize.unsupported import UnsupportedOperators


def samples_for(case: Any, count: int = 16) -> Tensor:
    return torch.randn(count, *case.example.shape[1:], generator=torch.Generator().manual_seed(7))


def kinds_of(path: Path) -> list[str]:
    model = read_model(path)
    return [kind_of(model, op) for op in model.subgraphs[0].operators]


def test_tflite_equals_pytorch(case: Any) -> None:
    x = samples_for(case)
    (expected,), (got,) = predict_module(case.module)(x), predict_tflite(case.path)(x)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_every_network_becomes_int8_throughout_and_stays_close(case: Any, tmp_path: Path) -> None:
    x, out = samples_for(case, 64), tmp_path / "int8.tflite"
    values, _ = in_layout(x, TFLiteModel(case.path).inputs[0].shape, str(case.path))
    quantize_int8(case.path, calibrate(case.path, values), out)
    model = read_model(out)
    graph = model.subgraphs[0]
    assert {type_of(graph.tensors[i]) for op in graph.operators for i in op.outputs} == {"INT8"}
    assert {type_of(graph.tensors[i]) for i in (*graph.inputs, *graph.outputs)} == {"INT8"}
    (expected,), (got,) = predict_module(case.module)(x), predict_tflite(out)(x)
    noise = float(np.square(got - expected).sum() / np.square(expected).sum())
    assert 10 * np.log10(1 / noise) > 20  # dB


def test_images_are_channels_last_at_both_ends(exported: Callable[[str], Any]) -> None:
    model = TFLiteModel(exported("pictures").path)
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((1, 16, 16, 3), (1, 16, 16, 3))
    assert "TRANSPOSE" not in kinds_of(exported("pictures").path)


def test_tensors_are_named_after_their_modules(exported: Callable[[str], Any]) -> None:
    model = read_model(exported("mobile").path)
    names = [name_of(tensor) for tensor in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert {"input", "output", "stem.0/conv_2d", "blocks.1.0/depthwise_conv_2d", "squeeze/conv_2d"} <= set(names)
    assert not any("litert" in name or "serving" in name for name in names)


def test_batchnorm_is_folded_and_clipping_fused(exported: Callable[[str], Any]) -> None:
    kinds = kinds_of(exported("mobile").path)
    assert kinds.count("CONV_2D") == 3
    assert kinds.count("MUL") <= 2  # the gate's scale and the gate
    assert not {"RELU6", "RELU", "SUB", "RSQRT"} & set(kinds)


def test_converting_again_gives_the_same_bytes(exported: Callable[[str], Any], tmp_path: Path) -> None:
    case = exported("dense")
    export_tflite(case.module, case.example, tmp_path / "first.tflite")
    export_tflite(case.module, case.example, tmp_path / "second.tflite")
    assert (tmp_path / "first.tflite").read_bytes() == (tmp_path / "second.tflite").read_bytes()


class Sorter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.kthvalue(x, 2)[0] + torch.histc(x, 4).sum()


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(8, 8), Sorter()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


def test_all_operators_that_cannot_be_converted_are_named_with_their_module(tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    with pytest.raises(UnsupportedOperators) as caught:
        export_tflite(Outer().eval(), torch.randn(1, 8), out)
    found = caught.value.findings
    assert {finding.operator for finding in found} == {"aten.kthvalue.default", "aten.histc.default"}
    assert {finding.source for finding in found} == {"inner"}
    assert all(finding.reason and finding.remedy for finding in found)
    assert str(caught.value).count("\n") == 2
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_control_flow_on_values_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match="Branching: PyTorch cannot export it") as caught:
        export_tflite(Branching(), torch.randn(1, 8), tmp_path / "model.tflite")
    assert "\n" not in str(caught.value)


PROGRAM = """
import sys, torch
from pathlib import Path
from ndtool.export.student import ready_to_export
from ndtool.export.tflite import export_tflite
from ndtool.export.onnx import export_onnx
from ndtool.export.predict import predict_onnx, predict_tflite
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate
folder, example = Path(sys.argv[1]), torch.randn(1, 8)
model = ready_to_export(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()), example)
export_tflite(model, example, folder / "m.tflite")
export_onnx(model, example, folder / "m.onnx")
predict_onnx(folder / "m.onnx")(example)
predict_tflite(folder / "m.tflite")(example)
quantize_int8(folder / "m.tflite", calibrate(folder / "m.tflite", example.numpy()), folder / "m8.tflite")
assert "tensorflow" not in sys.modules
import logging
assert not logging.root.handlers
print("done")
"""


def test_export_is_silent_leaves_no_files_and_needs_no_tensorflow(tmp_path: Path) -> None:
    here, out = tmp_path / "cwd", tmp_path / "out"
    here.mkdir()
    out.mkdir()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(out)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    assert not list(here.iterdir())
    assert sorted(path.name for path in out.iterdir()) == ["m.onnx", "m.tflite", "m8.tflite"]


class Pooled(nn.Module):
    """Layers that share constants, and a pool whose input is one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU()) for _ in range(2))
        self.small, self.last = nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.small(x)
        return self.last(self.second(self.first(x * scale))).flatten(1)


def test_layers_that_share_constants_keep_their_own_names_and_a_pool_of_one_pixel_is_none(tmp_path: Path) -> None:
    export_tflite(Pooled().eval(), torch.randn(1, 3, 4, 4), tmp_path / "model.tflite")
    model = read_model(tmp_path / "model.tflite")
    names = [name_of(model.subgraphs[0].tensors[op.outputs[0]]) for op in model.subgraphs[0].operators]
    assert [name for name in names if "/conv" in name] == ["first.0/conv_2d", "second.0/conv_2d"]
    assert not {"SUM"} & set(kinds_of(tmp_path / "model.tflite"))
    assert kinds_of(tmp_path / "model.tflite").count("MEAN") == 1
