"""TensorFlow's side of the Keras import: a program of its own, because TensorFlow and torch crash in one process.

`python -m ndtool.export.keras_worker REQUEST RESPONSE`: both are JSON files. The request has `task` ("convert" or
"predict"), `model` (path), `input` (.npy), `output` (.npy) and, to convert, `tflite` (path). The response is {} or
{"error": one line}.
"""

import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError

BATCH = 64
LARGEST_CONFIG = 2**26  # bytes
UNSAFE_LAYERS = frozenset(("Lambda", "__lambda__", "TFSMLayer"))
UNSAFE_OPERATIONS = frozenset(("ReadFile", "WriteFile", "PyFunc", "PyFuncStateless", "EagerPyFunc"))
SAFE_MODULES = ("keras", "builtins", "tensorflow.keras", "tf_keras")


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded model of one float input and one output."""

    call: Callable[[Any], Any]  # float32 tensor (N, *shape) to a tensor (N, ...)
    shape: tuple[int, ...]  # without batch
    batch: int | None  # fixed in the file
    owner: Any  # keeps the variables alive


def main() -> int:
    """Do what the request says."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        _work(request)
        response: dict[str, str] = {}
    except NdtoolError as error:
        response = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 (TensorFlow and Keras raise everything; the user gets one line)
        response = {"error": f"{request['model']}: TensorFlow cannot use it: {_one_line(error)}"}
    Path(sys.argv[2]).write_text(json.dumps(response), encoding="utf-8")
    return 0


def _work(request: dict[str, str]) -> None:
    path = Path(request["model"])
    _check_contents(path)
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise NdtoolError(
            f'{path}: reading Keras and SavedModel files needs TensorFlow: pip install "ndtool[tensorflow]", or set '
            "NDTOOL_TENSORFLOW_PYTHON to a Python that has it"
        ) from None
    except ImportError as error:
        raise NdtoolError(f"TensorFlow cannot be imported ({_one_line(error)}): install it again") from None
    network = _load_saved_model(tf, path) if path.is_dir() else _load_keras(tf, path)
    if any(size is None for size in network.shape):
        raise NdtoolError(
            f"{path}: input size (N, {_sizes(network.shape)}) is not fixed: save the model with a fixed one"
        )
    if request["task"] == "convert":
        x = np.random.default_rng(0).random((1, *network.shape), np.float32)
        np.save(request["input"], x)
        Path(request["tflite"]).write_bytes(_convert(tf, path, network))
    else:
        x = np.load(request["input"], allow_pickle=False)
    np.save(request["output"], _predict(tf, path, network, x))


def _check_contents(path: Path) -> None:
    """Refuse what is no model, and what would run code from the file, before anything of it is loaded."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise NdtoolError(f"{path}: not a SavedModel: it has no saved_model.pb")
        return
    if not path.is_file():
        raise NdtoolError(f"{path}: no such file: give a .keras or .h5 file, or a SavedModel folder")
    for part in _walk(_configuration(path)):
        name, module = part.get("class_name"), part.get("module")
        foreign = isinstance(module, str) and not any(
            module == safe or module.startswith(f"{safe}.") for safe in SAFE_MODULES
        )
        if name in UNSAFE_LAYERS or foreign or ">" in str(part.get("registered_name") or ""):
            raise NdtoolError(
                f"{path}: {name} of {module or 'the file'} is code of its own, which is not run: build the model from "
                "Keras' own layers, or convert it to TFLite where its code is trusted"
            )


def _configuration(path: Path) -> Any:
    """The JSON description of the layers."""
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
                    raise NdtoolError(f"{path}: its description is too large")
                return json.loads(archive.read("config.json"))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise NdtoolError(
                f"{path}: not a complete .keras file ({_one_line(error)}): save the model again"
            ) from None
    if path.suffix not in (".h5", ".hdf5"):
        raise NdtoolError(f"{path}: not a Keras file by its name: give a .keras or .h5 file, or a SavedModel folder")
    try:
        import h5py
    except ModuleNotFoundError:
        return {}  # it comes with TensorFlow, whose absence is reported next
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise NdtoolError(f"{path}: not a complete .h5 file ({_one_line(error)}): save the model again") from None
    if text is None:
        raise NdtoolError(f"{path}: holds weights only: save the whole model (model.save)")
    return json.loads(text)


def _walk(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a JSON value."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _load_keras(tf: Any, path: Path) -> Network:
    try:
        model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, AttributeError) as error:
        raise NdtoolError(f"{path}: Keras cannot load it: {_one_line(error)}") from None
    if not getattr(model, "inputs", None):
        raise NdtoolError(f"{path}: the model has no input yet: call it once before saving")
    _only_one(path, "inputs", [tensor.name for tensor in model.inputs])
    _only_one(path, "outputs", [tensor.name for tensor in model.outputs])
    entry = model.inputs[0]
    _check_float(path, entry.dtype)

    def call(x: Any) -> Any:
        return tf.nest.flatten(model(x, training=False))[0]

    return Network(call, tuple(entry.shape[1:]), entry.shape[0], model)


def _load_saved_model(tf: Any, path: Path) -> Network:
    try:
        _check_operations(path)
        loaded = tf.saved_model.load(str(path))
    except (ValueError, OSError, KeyError, tf.errors.OpError) as error:
        raise NdtoolError(f"{path}: TensorFlow cannot load it: {_one_line(error)}") from None
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        names = ", ".join(loaded.signatures) or "none"
        raise NdtoolError(f"{path}: has no signature 'serving_default' ({names}): save it by model.export")
    inputs = signature.structured_input_signature[1]
    _only_one(path, "inputs", list(inputs))
    _only_one(path, "outputs", list(signature.structured_outputs))
    ((name, spec),) = inputs.items()
    _check_float(path, spec.dtype.name)
    if spec.shape.rank is None:
        raise NdtoolError(f"{path}: the shape of its input is not known: save the model with a fixed one")

    def call(x: Any) -> Any:
        return next(iter(signature(**{name: x}).values()))

    return Network(call, tuple(spec.shape[1:]), spec.shape[0], loaded)


def _check_operations(path: Path) -> None:
    """Refuse a SavedModel that touches files or runs Python when it is used."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise NdtoolError(f"{path}: not a complete SavedModel ({_one_line(error)}): save it again") from None
    graphs = [meta.graph_def for meta in saved.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    if unsafe := sorted({node.op for node in nodes} & UNSAFE_OPERATIONS):
        raise NdtoolError(f"{path}: contains {', '.join(unsafe)}, which is not run: save the model without it")


def _only_one(path: Path, what: str, names: list[str]) -> None:
    if len(names) != 1:
        raise NdtoolError(
            f"{path}: has {len(names)} {what} ({', '.join(names)}), one is supported: save a model of one"
        )


def _check_float(path: Path, dtype: str) -> None:
    if dtype != "float32":
        raise NdtoolError(f"{path}: its input is {dtype}, not float32: save the model from its first float tensor on")


def _convert(tf: Any, path: Path, network: Network) -> bytes:
    """The model as a float TFLite file with batch 1."""
    if network.batch not in (None, 1):
        raise NdtoolError(f"{path}: its batch is fixed to {network.batch}: save it with an open batch, or 1")
    if isinstance(network.owner, tf.keras.Model):
        # (from_concrete_functions leaves the variables of a Keras model out of the file)
        entry = tf.keras.Input(batch_shape=(1, *network.shape))
        converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(entry, network.call(entry)))
    else:
        spec = tf.TensorSpec([1, *network.shape], tf.float32)
        concrete = tf.function(network.call).get_concrete_function(spec)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], network.owner)
    try:
        return converter.convert()
    except Exception as error:  # noqa: BLE001 (the converter's own errors have no public base class)
        missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", str(error))))
        reason = f"TFLite has no operator for {', '.join(missing)}: replace it" if missing else _one_line(error)
        raise NdtoolError(f"{path}: cannot be converted: {reason}") from None


def _predict(tf: Any, path: Path, network: Network, x: np.ndarray) -> np.ndarray:
    if x.shape[1:] != network.shape:
        raise NdtoolError(f"{path}: takes (N, {_sizes(network.shape)}), not {x.shape}: give data of the model's size")
    step = network.batch or BATCH
    if len(x) % step and network.batch:
        raise NdtoolError(f"{path}: its batch is fixed to {step}: save it with an open batch, or 1")
    parts = [network.call(tf.constant(x[start : start + step])).numpy() for start in range(0, len(x), step)]
    return np.concatenate(parts)


def _sizes(shape: tuple[int | None, ...]) -> str:
    return ", ".join("?" if size is None else str(size) for size in shape)


def _one_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


if __name__ == "__main__":
    sys.exit(main())
