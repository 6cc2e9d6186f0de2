import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.train.widening.layout import (
    Groups,
    as_slice,
    block_keys,
    fixed,
    owners,
    reordering,
    reshape_ids,
    reshape_parts,
    student_index,
)

widths = st.lists(st.integers(1, 3), min_size=1, max_size=5).map(np.array)


def _merged(sizes: list[int], cuts: list[bool]) -> list[int]:
    """The sizes with neighbours multiplied where there is no cut."""
    result = [1]
    for size, cut in zip(sizes, cuts, strict=True):
        if cut:
            result.append(1)
        result[-1] *= size
    return result


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes of the same elements, each made by merging neighbours of one list of factors."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    cuts = st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))
    return _merged(sizes, draw(cuts)), _merged(sizes, draw(cuts))


@settings(deadline=None)
@given(reshapes())
def test_parts_of_a_reshape_cover_both_shapes_and_hold_the_same_elements(shapes: tuple[list[int], list[int]]) -> None:
    before, after = shapes
    parts = reshape_parts(before, after)
    assert [axis for part in parts for axis in part.before] == list(range(len(before)))
    assert [axis for part in parts for axis in part.after] == list(range(len(after)))
    for part in parts:
        assert np.prod([before[a] for a in part.before]) == np.prod([after[a] for a in part.after])


def test_parts_of_a_reshape_are_as_small_as_possible() -> None:
    cut = [(part.before, part.after) for part in reshape_parts((2, 6, 4, 4), (2, 2, 3, 16))]
    assert cut == [((0,), (0,)), ((1,), (1, 2)), ((2, 3), (3,))]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True).map(sorted).map(np.array))
def test_a_slice_selects_what_the_index_does(index: np.ndarray) -> None:
    found = as_slice(index)
    regular = len(set(np.diff(index).tolist())) <= 1
    assert (found is not None) == regular
    if found is not None:
        assert np.arange(31)[found].tolist() == index.tolist()


@settings(deadline=None)
@given(widths, st.integers(1, 3))
def test_student_owns_the_first_entry_of_each_block(width: np.ndarray, inner: int) -> None:
    owner = owners(width, inner)
    assert owner[student_index(width, inner)].tolist() == list(range(len(width) * inner))
    assert len(owner) == width.sum() * inner


@settings(deadline=None)
@given(widths, st.integers(1, 4), st.booleans())
def test_merged_axes_are_reordered_into_blocks(width: np.ndarray, other: int, widened_first: bool) -> None:
    single = np.ones(other, np.int64)
    have = block_keys([width, single] if widened_first else [single, width], 3)
    flat = np.repeat(width, other) if widened_first else np.tile(width, other)
    want = block_keys([flat], 3)
    order = reordering(have, want)
    assert (have if order is None else have[order]).tolist() == want.tolist()
    assert order is not None or other == 1 or not widened_first or width.max() == 1


def test_a_tie_to_a_fixed_entry_fixes_the_whole_group() -> None:
    groups = Groups()
    a, b, c = groups.new(2), groups.new(2), groups.new(2)
    groups.tie(a, b)
    groups.tie(b[:1], fixed(1))
    assert groups.widths(np.concatenate([a, b, c]), 3).tolist() == [1, 1, 1, 1, 3, 3]


def test_channels_of_several_widths_are_tied_when_they_are_spread_over_axes() -> None:
    groups = Groups()
    layout = (np.concatenate([groups.new(3), fixed(3)]),)
    (part,) = reshape_parts((6,), (2, 3))
    rows, columns = reshape_ids(groups, layout, part, (2, 3))
    assert not groups.is_fixed(layout[0][:3])  # the first axis tells the two widths apart
    assert (groups.widths(rows, 2).tolist(), groups.widths(columns, 2).tolist()) == ([2, 1], [1, 1, 1])
    (part,) = reshape_parts((6,), (3, 2))
    reshape_ids(groups, layout, part, (3, 2))
    assert groups.is_fixed(layout[0])
