"""Functions of one value behind one another: a table of a table is a table."""

import numpy as np

from ndtool.export.c.graph import Op
from ndtool.export.c.operators.elementwise import FUNCTIONS, computed_input, constant_table
from ndtool.export.c.operators.tables import TABLES, table
from ndtool.export.c.rewrites.uses import Uses, fused


def table_of(op: Op) -> np.ndarray | None:
    """The output of each input from -128 on, (256,) int8, of an operator that is a function of one value, else None."""
    if op.kind in TABLES:
        return table(op)
    return constant_table(op) if op.kind in FUNCTIONS else None


def look_up_once(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """If all that reads a function's result are functions, they may as well read what it read."""
    own = table_of(op)
    if own is None:
        return None
    source = computed_input(op)
    maker = uses.inner_maker(source)
    first = None if maker is None else table_of(maker)
    if maker is None or first is None or any(table_of(reader) is None for reader in uses.readers[source]):
        return None
    composed = own[first.astype(np.int64) + 128]
    return (fused(op, maker, inputs=(computed_input(maker),), options={**op.options, "table": composed}),)
