"""Third-party converters print to stdout and stderr, from Python and from C++; their callers do not."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence everything written to stdout and stderr, and warnings and handlers of the root logger, inside the block.

    The whole process is silenced, its other threads too: keep the block to the third party's call.
    """
    handlers, level = list(logging.root.handlers), logging.root.level
    with warnings.catch_warnings(), _descriptors_to_null(), _streams_to_nowhere():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.root.handlers[:] = handlers  # imports and logging.warning() install some
            logging.root.setLevel(level)


@contextlib.contextmanager
def _streams_to_nowhere() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _descriptors_to_null() -> Iterator[None]:
    """What C++ code writes goes through the file descriptors."""
    saved = [(number, os.dup(number)) for number in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in saved:
            os.dup2(null, number)
        yield
    finally:
        for number, original in saved:
            os.dup2(original, number)
            os.close(original)
        os.close(null)
