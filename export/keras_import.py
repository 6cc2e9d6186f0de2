"""Keras files (.keras, .h5) and SavedModel folders as input, by TensorFlow in a process of its own.

TensorFlow comes with the extra `tensorflow`, or is that of another Python that has both it and ndtool, named by
NDTOOL_TENSORFLOW_PYTHON.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.files import write_atomic
from ndtool.quantize.runtime import TFLiteModel

TOLERANCE = 1e-4  # of the largest output
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # the same numbers on every machine
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
}


def convert(path: Path, out: Path) -> None:
    """Write a Keras or SavedModel model as a float32 TFLite file with batch 1.

    Its input keeps the model's layout: (1, H, W, C) for images. What TensorFlow computes and what the file computes
    are compared on a random input.

    Raises:
        NdtoolError: TensorFlow is missing; the model is malformed, holds code of its own, has more than one input or
            output or an open size, cannot be converted, or is changed by the conversion.
    """
    with tempfile.TemporaryDirectory(prefix="ndtool-keras-") as folder:
        room = Path(folder)
        files = {"input": room / "x.npy", "output": room / "y.npy", "tflite": room / "model.tflite"}
        _work("convert", Path(path), room, files)
        content = files["tflite"].read_bytes()
        x, expected = np.load(files["input"], allow_pickle=False), np.load(files["output"], allow_pickle=False)
    try:
        (got,) = TFLiteModel(content).run(x)
    except RuntimeError as error:
        raise NdtoolError(f"{path}: LiteRT cannot run its TFLite file: {str(error).splitlines()[0]}") from error
    difference, largest = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    if not difference <= TOLERANCE * largest + 1e-6:
        raise NdtoolError(
            f"{path}: its TFLite file differs by {difference:.3g} from TensorFlow (largest output {largest:.3g}): "
            "convert it with another version of TensorFlow"
        )
    write_atomic(Path(out), content)


def predict(path: Path, x: np.ndarray) -> np.ndarray:
    """What TensorFlow computes.

    Args:
        path: a Keras file or SavedModel folder.
        x: (N, ...) in the model's layout, (N, H, W, C) for images; taken as float32.

    Returns:
        (N, ...) float32.

    Raises:
        NdtoolError: as `convert`, or x has not the model's size.
    """
    with tempfile.TemporaryDirectory(prefix="ndtool-keras-") as folder:
        room = Path(folder)
        files = {"input": room / "x.npy", "output": room / "y.npy"}
        np.save(files["input"], np.asarray(x, np.float32))
        _work("predict", Path(path), room, files)
        return np.load(files["output"], allow_pickle=False)


def interpreter() -> str:
    """The Python that runs TensorFlow."""
    return os.environ.get("NDTOOL_TENSORFLOW_PYTHON") or sys.executable


def _work(task: str, path: Path, room: Path, files: dict[str, Path]) -> None:
    """Have the worker do a task; its files lie in `room`."""
    request, response = room / "request.json", room / "response.json"
    contents = {"task": task, "model": str(path.absolute()), **{name: str(file) for name, file in files.items()}}
    request.write_text(json.dumps(contents), encoding="utf-8")
    # -P: neither the current folder nor the worker's is searched for modules
    command = [interpreter(), "-P", "-m", "ndtool.export.keras_worker", str(request), str(response)]
    try:
        done = subprocess.run(
            command, env={**os.environ, **QUIET}, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise NdtoolError(f"NDTOOL_TENSORFLOW_PYTHON: {interpreter()} cannot be run: {error.strerror}") from error
    if done.returncode or not response.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise NdtoolError(
            f"{path}: the TensorFlow process of {interpreter()} failed: {lines[-1].strip()} "
            "(it needs both tensorflow and ndtool)"
        )
    if refusal := json.loads(response.read_text(encoding="utf-8")).get("error"):
        raise NdtoolError(refusal)
