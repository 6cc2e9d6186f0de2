"""What a timing model says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a model is and how far it can be trusted."""

    name: str
    description: str
    validated: bool
