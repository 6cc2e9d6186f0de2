"""Where a firmware's weights and arena lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
        if _is_sram_itself(region, target):
            what = f"on {target.name} the {region} is the first part of the SRAM"
            raise NdtoolError(f"{what}: what is placed in sram fills it first")
        chosen[part] = region
    return Placement(**chosen)


def other_placements(target: Target, usual: Placement, sizes: Mapping[str, int]) -> Iterator[Placement]:
    """Placements that differ in one part, which fits where it would lie. `sizes`: bytes of weights and arena."""
    for part, regions in _CHOICES.items():
        for region in regions:
            if region == getattr(usual, part) or region not in target.memory or _is_sram_itself(region, target):
                continue
            room = target.memory[region].bytes
            if room is not None and sizes[part] <= room:
                yield replace(usual, **{part: region})


def _is_sram_itself(region: str, target: Target) -> bool:
    return region != "sram" and target.memory[region].origin == target.memory["sram"].origin
