"""Where a firmware's weights and arena lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.benchmarks.targets import Target
from ndtool.errors import NdtoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Regions by name. The stack and everything else that is written lie in "sram", code in "flash"."""

    weights: str = "flash"
    arena: str = "sram"


USUAL = Placement()  # what firmware does without further ado

_CHOICES = {"weights": ("flash", "sram", "dtcm"), "arena": ("sram", "dtcm")}


def parse_placement(texts: Sequence[str], target: Target) -> Placement:
    """Read `weights=sram` and the like.

    Raises:
        NdtoolError: a part or a memory that there is not, or one that lies within the SRAM and so has no choice.
    """
    chosen = {}
    for text in texts:
        part, _, region = text.partition("=")
        if region not in _CHOICES.get(part, ()):
            choices = "; ".join(f"{name}={'|'.join(regions)}" for name, regions in _CHOICES.items())
            raise NdtoolError(f"{text!r} is no placement: write {choices}")
        if region not in target.memory:
            raise NdtoolError(f"{target.name} has no {region}: its memories are {', '.join(target.memory)}")
        origin = target.memory[region].origin
        if region != "sram" and origin == target.memory["sram"].origin:
            what = f"on {target.name} the {region} is the first part of the SRAM"
            raise NdtoolError(f"{what}: what is placed in sram fills it first")
        chosen[part] = region
    return Placement(**chosen)
