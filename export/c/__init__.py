"""The C compiler: an int8 TFLite file becomes a self-contained C99 library."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndtool.export.c.compile import compile_tflite
    from ndtool.export.c.library import CLibrary
    from ndtool.export.c.packages import write_library

__all__ = ["CLibrary", "compile_tflite", "write_library"]


def __getattr__(name: str) -> Any:
    if name == "compile_tflite":
        from ndtool.export.c.compile import compile_tflite

        return compile_tflite
    if name == "write_library":
        from ndtool.export.c.packages import write_library

        return write_library
    if name == "CLibrary":
        from ndtool.export.c.library import CLibrary

        return CLibrary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
