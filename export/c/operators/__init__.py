"""Every operator that the C compiler knows. A row names its lowering and its rules; see context.py and rules.py."""

from collections.abc import Mapping
from types import MappingProxyType

from ndtool.export.c.context import Operator
from ndtool.export.c.operators import reshaping

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        # Convolutions, fully connected, pooling, mean
        # Shape only
        "EXPAND_DIMS": Operator(reshaping.alias, reshaping.RULES),
        "RESHAPE": Operator(reshaping.alias, reshaping.RULES),
        "SQUEEZE": Operator(reshaping.alias, reshaping.RULES),
        # Elementwise, movement, tables, resizing
    }
)
