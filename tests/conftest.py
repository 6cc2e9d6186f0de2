"""Fixtures for every test: the shared data and models, where they are present."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the tests themselves run in parallel

SHARED = Path(os.environ.get("NDTOOL_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data/ and models/ that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared data and models in {SHARED} (or NDTOOL_SHARED)")
    return SHARED
