"""What goes wrong because of what the user gave: one clear line, exit code 2."""


class NdtoolError(Exception):
    """A message for the user: what is wrong and what to do about it."""
