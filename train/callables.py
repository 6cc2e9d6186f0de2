"""What a user names as "file.py:callable" or "package.module:callable", imported without leaving traces."""

import difflib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ndtool.errors import NdtoolError


def is_callable_spec(spec: str) -> bool:
    """Whether a name is written as file.py:callable or package.module:callable."""
    module, colon, name = spec.rpartition(":")
    return bool(colon) and name.isidentifier() and (module.endswith(".py") or _is_dotted(module))


@contextmanager
def imported(spec: str) -> Iterator[Any]:
    """Yield what `spec` names. Its folder can be imported from, by it alone, until the context ends.

    A relative file is relative to the working directory, which is also where a package's modules are looked for first.
    Raises: NdtoolError where the file, module or name is missing, or the user's code fails, inside the context too.
    """
    module_name, _, name = spec.rpartition(":")
    is_file = module_name.endswith(".py")
    folder = Path(module_name).absolute().parent if is_file else Path.cwd()
    with _importing_from(folder, private=is_file), users_code(spec):
        module = _load_file(Path(module_name)) if is_file else _load_module(module_name)
        if not hasattr(module, name):
            raise NdtoolError(f"{module_name} has no {name!r}{_similar(name, vars(module))}")
        yield getattr(module, name)


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn any exception of a user's code into one line that says where it arose."""
    try:
        yield
    except NdtoolError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        raise NdtoolError(f"{what} failed{_place(error.__traceback__)}: {reason}") from error


def load_callable(spec: str) -> Callable[..., Any]:
    """The callable that `spec` names; what it imports only when called is not found any more, see `imported`."""
    with imported(spec) as found:
        if not callable(found):
            raise NdtoolError(f"{spec} is {type(found).__name__} and cannot be called: name a function or class")
        return found


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [other.name for other in path.absolute().parent.glob("*.py")], n=1)
        raise NdtoolError(f"{path} does not exist{f': did you mean {path.with_name(near[0])}?' if near else ''}")
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"ndtool_user_{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise NdtoolError(f"{path} cannot be imported: give a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and inspect look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise NdtoolError(
                f"there is no module {error.name!r}: install it, or name a file as file.py:name"
            ) from error
        raise


@contextmanager
def _importing_from(folder: Path, private: bool) -> Iterator[None]:
    """Let modules in `folder` be imported; if `private`, they hide others of their name, and are forgotten after."""
    siblings = _importable(folder) - sys.stdlib_module_names if private else set()
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in siblings}
    for name in hidden:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in siblings]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _importable(folder: Path) -> set[str]:
    """Names of the modules and packages in a folder."""
    if not folder.is_dir():
        return set()
    return {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}


def _place(traceback: TracebackType | None) -> str:
    """The last line of a file that is not installed, where an exception passed."""
    place = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if "site-packages" not in file and not file.startswith((_LIBRARY, _HERE, "<")):
            place = f" ({Path(file).name}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place


_HERE = str(Path(__file__).parent)
_LIBRARY = sysconfig.get_path("stdlib")


def _is_dotted(module: str) -> bool:
    return bool(module) and all(part.isidentifier() for part in module.split("."))


def _similar(name: str, names: Any) -> str:
    public = [other for other in names if not other.startswith("_")]
    near = difflib.get_close_matches(name, public, n=1)
    return f": did you mean {near[0]}?" if near else ": name a function or class that it defines"
