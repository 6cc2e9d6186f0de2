"""Operators that cannot be exported or quantised: found all together, and reported all at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.errors import NdtoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One operator that is not supported."""

    operator: str  # TFLite's name, e.g. EXP, or PyTorch's, e.g. aten.cumsum.default
    node: str  # the tensor or the node in the exported graph
    source: str  # path of the module it comes from, e.g. features.3.act; empty: unknown, or the model itself
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f" of module {self.source!r}" if self.source and self.source != self.node else ""
        return f"{self.operator} {self.node!r}{where}: {self.reason}; {self.remedy}"


class UnsupportedOperators(NdtoolError):
    """Every operator of a model that is not supported. The message has a line for each."""

    def __init__(self, model: str, findings: Sequence[Finding]):
        self.findings = tuple(findings)
        count = "1 operator is" if len(findings) == 1 else f"{len(findings)} operators are"
        lines = f" {findings[0]}" if len(findings) == 1 else "\n  ".join(("", *map(str, findings)))
        super().__init__(f"{model}: {count} not supported:{lines}")
