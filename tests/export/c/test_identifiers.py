"""Names from files as C identifiers and comments."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndtool.export.c.identifiers import KEYWORDS, c_comment, c_identifier, unique


@given(st.text())
def test_every_name_becomes_a_valid_identifier(name):
    identifier = c_identifier(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", identifier)
    assert identifier not in KEYWORDS
    assert not identifier.startswith("nd_")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("kws", "kws"),
        ("MobileNet v2 (0.35)", "mobilenet_v2_0_35"),
        ("int", "model_int"),
        ("stdint", "model_stdint"),
        ("2nd", "model_2nd"),
        ("nd_conv", "model_nd_conv"),
        ("Arduino demo", "model_arduino_demo"),
        ("été", "ete"),
        ("模型", "model"),
        ("_x__y_", "x_y"),
        ('a"; system("', "a_system"),
    ],
)
def test_identifiers_resemble_their_names(name, identifier):
    assert c_identifier(name) == identifier


@given(st.lists(st.sampled_from(["a", "a_2", "b", "a_2_2"])))
def test_unique_names_are_unique_and_keep_their_stems(names):
    result = unique(names)
    assert len(set(result)) == len(names)
    assert all(new.startswith(old) for new, old in zip(result, names, strict=True))


@given(st.text())
def test_comments_stay_comments(text):
    comment = c_comment(text)
    assert not re.search(r"\*/|/\*|\?\?|\\|[^ -~]", comment)
    assert len(comment) <= 100
