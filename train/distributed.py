"""Training on several processes, on one or many machines: who this process is, and what all of them do together.

The processes are those that torchrun starts. In a single process every function here does nothing. Tensors in memory
go over gloo, those on GPUs over NCCL.

Two kinds of doing things together: while a training is being prepared, any process may fail by itself, and all meet in
`_exchange`, where one that failed says so; so an error is told once and nobody waits for who has left. Once steps are
taken all do the same, and whoever fails, ends the others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import prod
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ndtool.errors import NdtoolError, first_line
from ndtool.train.launch import launched

PATIENCE = timedelta(hours=1)  # with processes that download or decode data while the others wait

T = TypeVar("T")
_stepping = False  # whether all processes are past the preparations


class SharedError(NdtoolError):
    """An error that every process knows of: the first one tells it."""


class LostProcessError(SharedError):
    """Another process of the training has ended."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of the training: number `rank` of `world`, number `local_rank` on its machine."""

    rank: int
    world: int
    local_rank: int
    backend: str  # as torch names it, empty for a single process

    @classmethod
    def single(cls) -> "Ranks":
        """A process by itself."""
        return cls(rank=0, world=1, local_rank=0, backend="")

    @property
    def first(self) -> bool:
        """Whether this is the process that prints, reports and writes."""
        return self.rank == 0


def current() -> Ranks:
    """This process among those it has joined."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks.single()
    local = int(os.environ.get("LOCAL_RANK") or 0)
    return Ranks(rank=dist.get_rank(), world=dist.get_world_size(), local_rank=local, backend=dist.get_backend())


@contextmanager
def joined() -> Iterator[Ranks]:
    """Be one of the processes that torchrun started; by oneself where it did not. After an error one stays joined.

    Raises NdtoolError where the others cannot be reached.
    """
    _join()
    yield current()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _join() -> None:
    if not launched() or dist.is_initialized():
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise NdtoolError(
            f"cannot reach the other processes ({first_line(error)}): start them with torchrun"
        ) from error


def agree() -> None:
    """Go on where every process has come this far; where one has failed, all fail with its error."""
    _meet(None)


def on_first(function: Callable[[], T]) -> T:
    """What the function returns in the first process, in every process; only there it is called."""
    return _meet(function() if current().first else None)


def in_turn(function: Callable[[], T]) -> T:
    """Call the function in every process: first in one, then in one per machine, then in the others.

    So what it downloads or decodes into the cache is there for those who come later.
    """
    ranks = current()
    mine = 0 if ranks.first else 1 if ranks.local_rank == 0 else 2
    result: Any = None
    for turn in range(3 if ranks.world > 1 else 1):
        if turn == mine:
            result = function()
        agree()
    return result


@contextmanager
def stepping() -> Iterator[None]:
    """What happens within is done by all processes alike."""
    global _stepping
    agree()
    _stepping = True
    yield
    _stepping = False  # not after an error: it is then told as one of the steps


def tell(error: Exception, line: str, echo: Callable[[str], None]) -> None:
    """Have one process say what made the training fail, however many fail with it. The caller then ends at once.

    torchrun ends all processes when one has ended: so they wait here until it is said.
    """
    ranks = current()
    named = f"{line} (process {ranks.rank})" if ranks.world > 1 and not ranks.first else line
    if isinstance(error, SharedError):
        if ranks.first:
            echo(line)
        if not isinstance(error, LostProcessError):
            _wait()
    elif _stepping or not launched():
        echo(named)
    else:
        try:
            _join()
            messages = _exchange(line, None)[0]
        except (NdtoolError, RuntimeError):
            echo(named)
            return
        if current().first:
            echo(_first_message(messages))
        _wait()


def _meet(value: Any) -> Any:
    """The first process's value, where none has failed."""
    if current().world == 1:
        return value
    messages, values = _exchange(None, value)
    if any(messages):
        raise SharedError(_first_message(messages))
    return values[0]


def _exchange(message: str | None, value: Any) -> tuple[list[str | None], list[Any]]:
    """Every process's message of failure and value, in the order of the ranks."""
    found: list[Any] = [None] * dist.get_world_size()
    with _lost():
        dist.all_gather_object(found, (message, value))
    return [message for message, _ in found], [value for _, value in found]


def _first_message(messages: Sequence[str | None]) -> str:
    rank, message = next((rank, message) for rank, message in enumerate(messages) if message)
    return message if rank == 0 else f"{message} (process {rank})"


def _wait() -> None:
    try:
        dist.barrier()
    except RuntimeError:
        return  # they have ended, too


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's errors are no more than that
        raise LostProcessError(
            f"another process of the training has ended ({first_line(error)}): go on from the last checkpoint "
            "with --resume"
        ) from error


def average_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over all processes, in place; one message per type of number."""
    world = current().world
    if world > 1:
        _through(tensors, lambda flat: (dist.all_reduce(flat), flat.div_(world)))


def sum_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in place."""
    if current().world > 1:
        _through(tensors, dist.all_reduce)


def broadcast_(tensors: Sequence[Tensor]) -> None:
    """Give every process the first one's tensors, in place."""
    if current().world > 1:
        _through(tensors, lambda flat: dist.broadcast(flat, 0))


def any_(*flags: bool) -> tuple[bool, ...]:
    """Whether any process has raised each of the flags."""
    if current().world == 1:
        return flags
    raised = torch.tensor(flags, dtype=torch.uint8)
    with _lost():
        dist.all_reduce(raised, dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in raised.tolist())


@torch.no_grad()
def _through(tensors: Sequence[Tensor], collective: Callable[[Tensor], Any]) -> None:
    """Apply a collective to all tensors, laid end to end as far as they are of one type and device."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in alike])
        with _lost():
            collective(flat)
        sizes = [prod(tensor.shape) for tensor in alike]
        for tensor, part in zip(alike, flat.split(sizes), strict=True):
            tensor.copy_(part.view(tensor.shape))
