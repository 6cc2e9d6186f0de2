"""Whatever a model file holds, the result is a library or one line; what becomes a library stays within its memory.

LiteRT is left out (golden=0): it is not made for damaged files, and what is tested is what ndtool does with them.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import CLibrary, compile_tflite
from ndtool.export.c.context import Features
from ndtool.tests.export.c.clean import run_clean
from ndtool.tests.export.c.harness import DSP
from ndtool.tests.export.c.mutations import damaged, nonsense

features = st.sampled_from([Features(), DSP])
mutants = st.one_of(damaged(), nonsense(), nonsense())


def quickly(examples: int) -> settings:
    """The time of an example is not limited: machines are slow at times."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


def compiled_or_refused(content: bytes, features: Features) -> CLibrary | None:
    try:
        return compile_tflite(content, name="t", golden=0, features=features)
    except NdtoolError as error:
        message = str(error)
    assert message.startswith("a model")
    assert message.isprintable(), repr(message)
    return None


@quickly(400)
@given(mutants, features)
def test_a_mutated_model_is_a_library_or_one_line(content, features):
    compiled_or_refused(content, features)


@pytest.mark.slow
@quickly(20_000)
@given(mutants, features)
def test_many_mutated_models_are_libraries_or_one_line(content, features):
    compiled_or_refused(content, features)


def runs_clean_if_it_compiles(folder: Path, content: bytes, features: Features) -> None:
    if compiled_or_refused(content, features) is not None:
        run_clean(content, folder / "c", features=features, golden=0)


@quickly(60)
@given(nonsense(), features)
def test_what_compiles_after_a_mutation_runs_clean(tmp_path_factory, content, features):
    runs_clean_if_it_compiles(tmp_path_factory.mktemp("mutant"), content, features)


@pytest.mark.slow
@quickly(2000)
@given(mutants, features)
def test_all_that_compile_after_a_mutation_run_clean(tmp_path_factory, content, features):
    runs_clean_if_it_compiles(tmp_path_factory.mktemp("mutant"), content, features)
