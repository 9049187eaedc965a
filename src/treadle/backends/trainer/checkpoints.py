"""Checkpoints of a training: written in the background, read by any number of ranks."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
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
        state[_key("random", self._rank)] = {"state": torch.get_rng_state()}
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
        state = self._state()
        about: dict[str, Any] = {"training": {"step": 0, "workers": 0}}
        load(about, checkpoint_id=str(folder), process_group=self._group)
        load(state, checkpoint_id=str(folder), process_group=self._group)
        whole = nn.ModuleList(self.modules)
        if self.modules:
            set_state_dict(
                whole,
                self.optimizers,
                model_state_dict=state["modules"],
                optim_state_dict=state.get("optimizers", {}),
                options=_FLAT,
            )
        for number, other in enumerate(self.others):
            other.load_state_dict(state[_key("other", number)])
        if about["training"]["workers"] == self._workers:
            random = {_key("random", self._rank): {"state": torch.get_rng_state()}}
            load(random, checkpoint_id=str(folder), process_group=self._group)
            torch.set_rng_state(random[_key("random", self._rank)]["state"])
        step: int = about["training"]["step"]
        return step

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self.modules:
            modules, optimizers = get_state_dict(
                nn.ModuleList(self.modules), self.optimizers, options=_FLAT
            )
            state = {"modules": modules, "optimizers": optimizers}
        for number, other in enumerate(self.others):
            state[_key("other", number)] = other.state_dict()
        return state

    @property
    def loaders(self) -> list[Batches]:
        """The prepared loaders."""
        return [other for other in self.others if isinstance(other, Batches)]


def newest_in(folder: Path) -> int | None:
    """The step of the newest complete checkpoint below a folder.

    Args:
        folder: Where checkpoints are.
    """
    return max(map(_step_of, _complete(folder)), default=None)


def _complete(folder: Path) -> Iterator[Path]:
    return (each.parent for each in folder.glob(f"step-*/{_COMPLETE}"))


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _key(kind: str, number: int) -> str:
    return f"{kind}-{number}"
