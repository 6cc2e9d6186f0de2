"""What goes wrong because of what the user gave: one clear line, exit code 2."""


class NdtoolError(Exception):
    """A message for the user: what is wrong and what to do about it."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that says something; its type where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
