"""Checkpoints of a training: written in the background, read by any number of ranks."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from treadle.backends.trainer.batches import Batches

_KEPT = 2
_COMPLETE = ".metadata"
"""The file that is written last: a checkpoint without it is half of one."""
_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


class Checkpoints:
    """What was prepared, by the order in which it was, in a folder ``step-N`` for each checkpoint.

    Weights and states of optimisers are named as in the undivided modules, so another number of
    ranks or another strategy reads them, too.

    Args:
        folder: Where they are.
        rank: Number of this rank.
        workers: Number of ranks.
    """

    def __init__(self, folder: Path, rank: int, workers: int) -> None:
        self._folder, self._rank, self._workers = folder, rank, workers
        self._pending: Any = None
        self._group = dist.new_group(backend="gloo")
        self.modules: list[nn.Module] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.others: list[Any] = []

    def newest(self) -> Path | None:
        """The folder of the newest complete checkpoint."""
        found = sorted(_complete(self._folder), key=_step_of)
        return found[-1] if found else None

    def save(self, step: int) -> None:
        """Begin to write a checkpoint; the one before is waited for.

        Args:
            step: The step that was done last.
        """
        self.wait()
        folder = self._folder / f"step-{step}"
        if self._rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        dist.barrier(self._group)
        state = self._state()
        state[_key("random", self._rank)] = _random_state()
        state["training"] = {"step": step, "workers": self._workers}
        self._pending = async_save(state, checkpoint_id=str(folder), process_group=self._group)

    def wait(self) -> None:
        """Wait until the newest is written, and remove those before the last two."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None
            dist.barrier(self._group)
            if self._rank == 0:
                for old in sorted(_complete(self._folder), key=_step_of)[:-_KEPT]:
                    shutil.rmtree(old, ignore_errors=True)

    def restore(self, folder: Path) -> int:
        """Bring what was prepared to where a checkpoint was.

        Args:
            folder: The checkpoint's folder.

        Returns:
            The step that was done last.
        """
        stored = set(FileSystemReader(str(folder)).read_metadata().state_dict_metadata)
        about: dict[str, Any] = {"training": {"step": 0, "workers": 0}}
        load(about, checkpoint_id=str(folder), process_group=self._group)
        if self.modules:
            with self._as_stored(stored):
                state = self._trained()
                load(state, checkpoint_id=str(folder), process_group=self._group)
                set_state_dict(
                    nn.ModuleList(self.modules),
                    self.optimizers,
                    model_state_dict=state["modules"],
                    optim_state_dict=state["optimizers"],
                    options=_FLAT,
                )
        self.restore_others(folder, 0)
        random = {_key("random", self._rank): _random_state()}
        if about["training"]["workers"] == self._workers:
            load(random, checkpoint_id=str(folder), process_group=self._group)
            _set_random_state(random[_key("random", self._rank)])
        step: int = about["training"]["step"]
        return step

    def restore_others(self, folder: Path, first: int) -> None:
        """Bring loaders and the like to where a checkpoint was, where it knows them.

        Args:
            folder: The checkpoint's folder.
            first: Number of the first of them.
        """
        stored = FileSystemReader(str(folder)).read_metadata().state_dict_metadata
        for number, other in list(enumerate(self.others))[first:]:
            key = _key("other", number)
            if any(one == key or one.startswith(f"{key}.") for one in stored):
                state = {key: other.state_dict()}
                load(state, checkpoint_id=str(folder), process_group=self._group)
                other.load_state_dict(state[key])

    @contextmanager
    def _as_stored(self, stored: set[str]) -> Iterator[None]:
        """Leave out parameters without a state there: those that never had a gradient."""
        has_states = any(one.startswith("optimizers.state.") for one in stored)
        idle = [
            one
            for name, one in nn.ModuleList(self.modules).named_parameters()
            if one.requires_grad and has_states and not _has_state(name, stored)
        ]
        for one in idle:
            one.requires_grad_(False)
        try:
            yield
        finally:
            for one in idle:
                one.requires_grad_(True)

    def _trained(self) -> dict[str, Any]:
        """Weights, and states of optimisers."""
        modules, optimizers = get_state_dict(
            nn.ModuleList(self.modules), self.optimizers, options=_FLAT
        )
        return {"modules": modules, "optimizers": optimizers}

    def _state(self) -> dict[str, Any]:
        state = self._trained() if self.modules else {}
        for number, other in enumerate(self.others):
            state[_key("other", number)] = other.state_dict()
        return state

    @property
    def loaders(self) -> list[Batches]:
        """The prepared loaders."""
        return [other for other in self.others if isinstance(other, Batches)]


def _complete(folder: Path) -> Iterator[Path]:
    return (each.parent for each in folder.glob(f"step-*/{_COMPLETE}"))


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _has_state(name: str, stored: set[str]) -> bool:
    """Whether a checkpoint has an optimiser's state of a parameter."""
    plain = name.replace(".module.", ".")
    return any(one.startswith(f"optimizers.state.{plain}.") for one in stored)


def _random_state() -> dict[str, torch.Tensor]:
    """PyTorch's random states of this process."""
    state = {"cpu": torch.get_rng_state()}
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _key(kind: str, number: int) -> str:
    return f"{kind}-{number}"
