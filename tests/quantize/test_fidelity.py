from pathlib import Path

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.quantize.fidelity import per_layer
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate
from ndtool.quantize.runtime import TFLiteModel, to_real, to_tensor


def quantised(float_model: Path, samples: np.ndarray, out: Path, **changed: tuple[float, float]) -> Path:
    quantize_int8(float_model, {**calibrate(float_model, samples), **changed}, out)
    return out


def test_every_arithmetic_layer_has_a_row_worst_first(float_model: Path, samples: np.ndarray, tmp_path: Path) -> None:
    rows = per_layer(float_model, quantised(float_model, samples, tmp_path / "q.tflite"), samples)
    kinds = {"CONV_2D", "LEAKY_RELU", "MUL", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
    assert {row.kind for row in rows} == kinds
    assert len(rows) == len(kinds)  # padding only moves values
    assert [row.local_db for row in rows] == sorted(row.local_db for row in rows)
    assert all(row.sqnr_db > 20 for row in rows)


def test_sqnr_of_the_output_is_that_of_the_whole_model(float_model: Path, samples: np.ndarray, tmp_path: Path) -> None:
    path = quantised(float_model, samples, tmp_path / "q.tflite")
    exact, int8 = TFLiteModel(float_model), TFLiteModel(path, reference=True)
    want = np.stack([exact.run(x[None])[0] for x in samples])
    got = np.stack([to_real(int8.run(to_tensor(x[None], int8.inputs[0]))[0], int8.outputs[0]) for x in samples])
    expected = 10 * np.log10(np.square(want).sum() / np.square(want - got).sum())
    row = next(row for row in per_layer(float_model, path, samples) if row.name == "output")
    assert row.sqnr_db == pytest.approx(expected, abs=1e-3)


def test_the_layer_with_a_bad_range_is_found(float_model: Path, samples: np.ndarray, tmp_path: Path) -> None:
    low, high = calibrate(float_model, samples)["act/leaky_relu"]
    path = quantised(float_model, samples, tmp_path / "q.tflite", **{"act/leaky_relu": (40 * low, 40 * high)})
    rows = per_layer(float_model, path, samples)
    assert rows[0].name == "act/leaky_relu"
    healthy = next(row for row in rows if row.kind == "MUL")
    assert healthy.sqnr_db < healthy.local_db - 6  # it only inherits the loss


def test_files_that_do_not_belong_together_are_refused(float_model: Path, samples: np.ndarray, shared: Path) -> None:
    with pytest.raises(NdtoolError, match="no layer of the float32 model"):
        per_layer(float_model, shared / "models" / "ic.tflite", samples)
