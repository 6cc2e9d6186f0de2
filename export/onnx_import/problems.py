"""What a converter says about a node that it cannot convert."""


class UnsupportedError(Exception):
    """A node that cannot be converted: the reason, and what its owner can do."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason}: {remedy}")
