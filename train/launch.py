"""Whether a process is one of several that train together. Without PyTorch, as the command line asks it always."""

import os


def launched() -> bool:
    """Whether torchrun, or something that sets the same variables, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and "RANK" in os.environ


def launched_first() -> bool:
    """Whether this process is by itself, or the first of those."""
    return not launched() or os.environ["RANK"] == "0"
