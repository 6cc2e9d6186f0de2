"""The rules of operators and the page that is made of them."""

from pathlib import Path

import pytest

from ndtool.export.c.checks import supported_operators
from ndtool.export.c.operators import OPERATORS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "supported-operators.md"


def test_the_page_of_supported_operators_is_up_to_date():
    """To rewrite it: python -c "from ndtool.export.c.checks import supported_operators as s; print(s(), end='')"."""
    assert PAGE.read_text(encoding="utf-8") == supported_operators()


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_every_rule_has_one_line_of_text_that_says_what_must_hold(kind):
    for rule in OPERATORS[kind].rules:
        text = (rule.__doc__ or "").strip().splitlines()[0]
        assert text[0].islower(), text
        assert " must " in f" {text} " or " may " in f" {text} ", text
