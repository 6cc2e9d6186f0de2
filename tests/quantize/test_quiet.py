import logging
import os
import sys
import warnings

import pytest

from ndtool.quantize.quiet import quiet


def test_nothing_is_printed_from_python_or_below(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("python")
        print("python", file=sys.stderr)
        os.write(1, b"descriptor")
        os.write(2, b"descriptor")
        warnings.warn("warning", stacklevel=1)
        logging.warning("logging")
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_exceptions_pass_and_everything_is_restored(capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.root.handlers)

    @quiet()
    def fail() -> None:
        logging.root.addHandler(logging.StreamHandler())
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    os.write(2, b"after")
    assert logging.root.handlers == handlers
    assert capfd.readouterr() == ("", "after")
