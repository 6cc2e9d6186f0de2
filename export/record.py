"""What an export made: the result, and the record of it that stays beside the files (export.json)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndtool.errors import NdtoolError
from ndtool.export.verify import Stage
from ndtool.quantize.ranges import Saturation

if TYPE_CHECKING:
    from ndtool.export.c.library import CLibrary
    from ndtool.export.source import Source
    from ndtool.train.data import Data, Normalisation

_TOOLS = ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "onnx", "onnxruntime")
_WORST = 10  # saturated tensors that are kept


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was made, in the order it was made, and what it was verified on."""

    stages: tuple[Stage, ...]
    samples: int  # on which each stage was compared with the one before
    real: bool  # whether they were real data; otherwise random numbers
    saturation: tuple[Saturation, ...]  # held-out values that int8 clips, per tensor, most first; empty without int8
    library: "CLibrary | None" = None  # the C library


def record_of(source: "Source", result: ExportResult, data: "Data | None", calibration: int) -> str:
    """The text of export.json: JSON that is the same for the same export.

    Keys: ndtool, versions, source {name, format, sha256}, input_shape, data, task, classes, normalisation {mean, std},
    calibration_samples, verified {samples, real}, stages [{name, file, bytes, and what was measured}], saturation.
    """
    record = {
        "ndtool": _version("ndtool"),
        "versions": {name: _version(name) for name in _TOOLS},
        "source": {"name": source.name, "format": source.format, "sha256": source.sha256},
        "input_shape": list(data.input_shape if data is not None else source.input_shape),
        **(_of_data(data) if data is not None else {}),
        "calibration_samples": calibration,
        "verified": {"samples": result.samples, "real": result.real},
        "stages": [_of_stage(stage) for stage in result.stages],
        "saturation": [asdict(row) for row in result.saturation[:_WORST] if row.fraction > 0],
    }
    return json.dumps(record, indent=2) + "\n"


def read_record(path: Path) -> Mapping[str, Any] | None:
    """A record that `record_of` made; None where there is none that can be read."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def recorded_normalisation(path: Path) -> "Normalisation | None":
    """How pixels were normalised for a file that an export made, where the record beside it says so."""
    from ndtool.train.data import Normalisation
    from ndtool.train.run import Artifacts

    place = Artifacts(Path(path).parent).export_record
    record = read_record(place)
    if record is None or "ndtool" not in record:
        return None
    try:
        files = [stage["file"] for stage in record["stages"]]
        scaling = record.get("normalisation") if Path(path).name in files else None
        return scaling and Normalisation(mean=tuple(scaling["mean"]), std=tuple(scaling["std"]))
    except (KeyError, TypeError) as error:
        raise NdtoolError(f"{place} is damaged: export again, or remove it") from error


def _of_data(data: "Data") -> dict[str, Any]:
    scaling = data.normalisation
    return {
        "data": data.name,
        "task": data.task,
        "classes": list(data.classes),
        "normalisation": None if scaling is None else {"mean": list(scaling.mean), "std": list(scaling.std)},
    }


def _of_stage(stage: Stage) -> dict[str, Any]:
    measured = {name: value for name, value in asdict(stage).items() if value is not None and name != "path"}
    return {"name": stage.name, "file": None if stage.path is None else stage.path.name, **measured}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
