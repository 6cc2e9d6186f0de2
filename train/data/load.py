"""`load_data`: any name, folder, archive, .npz or function, made into training, validation and test data."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ndtool.errors import NdtoolError
from ndtool.train.callables import is_callable_spec
from ndtool.train.data.archives import is_archive, unpacked
from ndtool.train.data.arrays import read_npz
from ndtool.train.data.assemble import assemble
from ndtool.train.data.dataset import RECONSTRUCTION, TASKS, Data, Normalisation
from ndtool.train.data.digits import read_digits
from ndtool.train.data.folders import read_folder
from ndtool.train.data.shards import is_shards, read_shards
from ndtool.train.data.source import Source
from ndtool.train.data.torchvision_sets import SETS, read_torchvision, torchvision_name
from ndtool.train.data.user import read_user

DATASETS: Mapping[str, str] = MappingProxyType(
    {"digits": "1797 scanned digits, 8x8 grey, 10 classes (scikit-learn, always there)"}
    | {
        name: f"torchvision's {entry.class_name}, "
        + ("downloaded when asked for" if entry.by_hand is None else "from files of yours in the cache")
        for name, entry in SETS.items()
    }
)


def load_data(
    spec: str,
    *,
    input_shape: tuple[int, ...] | None = None,
    task: str | None = None,
    normalisation: Normalisation | None = None,
    validation: float = 0.1,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Data:
    """Load data by a name of DATASETS, a folder or archive of class folders, tar shards, .npz or "file.py:function".

    A file or folder of that name in the working directory comes before the names.
    `input_shape` without batch: images are resized and cropped to it (C, H, W); None takes the images' own.
    `task` None: classification where there are labels. `normalisation` None: of the training part, per channel.
    `validation`: the part of the training data held out, the same share of each class, chosen by `seed`, where the
    data have no validation part of their own. `progress` is told, in words, what takes long.
    Raises: NdtoolError, one line, for whatever is wrong with the data.
    """
    if task is not None and task not in TASKS:
        raise NdtoolError(f"no task is called {task!r}: choose from {', '.join(TASKS)}")
    if not 0 < validation < 1:
        raise NdtoolError(f"the validation part is {validation}: give a part of the training data between 0 and 1")
    source = read_source(spec, progress or _silent, labelled=task != RECONSTRUCTION)
    return assemble(
        source,
        input_shape=input_shape,
        task=task,
        normalisation=normalisation,
        validation=validation,
        seed=seed,
        progress=progress or _silent,
    )


def read_source(spec: str, progress: Callable[[str], None], labelled: bool = True) -> Source:
    """The parts that `spec` names, as they are found; `labelled` False where classes do not matter."""
    path = Path(spec).expanduser()
    if is_shards(spec):
        return read_shards(spec, progress, labelled=labelled)
    if path.is_dir():
        return read_folder(path, labelled=labelled)
    if path.is_file():
        return _read_file(path, progress, labelled)
    if spec == "digits":
        return read_digits()
    if name := torchvision_name(spec):
        progress(f"opening {name}, downloaded into the cache if it is not there")
        return read_torchvision(name)
    if is_callable_spec(spec):
        return read_user(spec, labelled)
    near = difflib.get_close_matches(path.name, _siblings(path), n=1, cutoff=0.8)
    near = [str(path.with_name(name)) for name in near] or difflib.get_close_matches(spec, DATASETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "give a name (`ndtool list data`), a folder, an archive or an .npz"
    raise NdtoolError(f"there are no data {spec!r}: {hint}")


def _read_file(path: Path, progress: Callable[[str], None], labelled: bool) -> Source:
    if is_archive(path):
        progress(f"opening {path.name}, unpacked into the cache if it is new")
        return read_folder(unpacked(path), name=path.name.split(".")[0], labelled=labelled)
    if path.suffix.lower() == ".npz":
        return read_npz(path, labelled)
    known = ".npz, .zip, .tar, .tar.gz or .tar.xz, or a function as file.py:name"
    raise NdtoolError(f"{path}: data are not read from such a file: give a folder, {known}")


def _siblings(path: Path) -> list[str]:
    """What lies beside a path that does not exist."""
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def _silent(_: str) -> None:
    pass
