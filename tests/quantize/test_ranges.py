from pathlib import Path

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import calibrate, saturation
from ndtool.quantize.runtime import TFLiteModel


def test_ranges_are_the_extremes_over_all_samples(float_model: Path, samples: np.ndarray) -> None:
    ranges = calibrate(float_model, samples)
    assert ranges["input"] == (samples.min(), samples.max())
    model = TFLiteModel(float_model)
    outputs = np.concatenate([model.run(sample[None])[0] for sample in samples])
    assert ranges["output"] == pytest.approx((outputs.min(), outputs.max()))
    assert all(low <= high for low, high in ranges.values())


def test_minus_infinity_of_a_padding_is_no_value(float_model: Path, samples: np.ndarray) -> None:
    ranges = calibrate(float_model, samples)
    padded = next(name for name in ranges if "padv2" in name)
    assert np.isfinite(ranges[padded]).all()


def test_ranges_grow_with_the_samples(float_model: Path, samples: np.ndarray) -> None:
    few, many = calibrate(float_model, samples[:4]), calibrate(float_model, samples)
    assert few.keys() == many.keys()
    assert all(many[name][0] <= few[name][0] and few[name][1] <= many[name][1] for name in few)


def test_progress_counts_the_samples(float_model: Path, samples: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    calibrate(float_model, samples[:3], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_values_beyond_the_calibrated_range_are_reported_as_saturated(
    float_model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    int8 = tmp_path / "int8.tflite"
    quantize_int8(float_model, calibrate(float_model, samples), int8)
    within = {row.tensor: row for row in saturation(float_model, int8, samples)}
    assert all(row.fraction == 0 for row in within.values())
    beyond = saturation(float_model, int8, samples * 2)
    assert [row.fraction for row in beyond] == sorted((row.fraction for row in beyond), reverse=True)
    row = next(row for row in beyond if row.tensor == "input")
    low, high = row.range
    step = (high - low) / 255
    expected = ((samples * 2 < low - step / 2) | (samples * 2 > high + step / 2)).mean()
    assert row.fraction == pytest.approx(expected)
    assert row.seen == (2 * samples.min(), 2 * samples.max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :4], r"takes \(1, 8, 8, 3\), the data are \(1, 4, 8, 3\)"),
        (lambda x: x[:0], "no samples"),
        (lambda x: np.where(x > 2, np.nan, x), "not finite"),
    ],
)
def test_samples_that_do_not_fit_are_refused(float_model: Path, samples: np.ndarray, change, message) -> None:
    with pytest.raises(NdtoolError, match=message):
        calibrate(float_model, change(samples))
