"""Loaders whose batches are divided among ranks, and that go on where they were."""

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, IterableDataset

_KEPT = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)
"""Settings of a loader that its part of the rows is loaded with."""


class Share(NamedTuple):
    """Which rows of a batch a rank takes.

    Attributes:
        rank: Number of the rank.
        ranks: Number of those that share the rows.
    """

    rank: int
    ranks: int

    def of(self, rows: int) -> slice:
        """The rows of one batch; one row where there are fewer rows than ranks.

        Args:
            rows: Rows of the whole batch.
        """
        first, last = rows * self.rank // self.ranks, rows * (self.rank + 1) // self.ranks
        return slice(first, last) if last > first else slice(0, 1)

    def weight(self, rows: int) -> float:
        """What this rank's mean counts in the mean over ranks; 1 where all have as many rows.

        Args:
            rows: Rows of the whole batch.
        """
        own = rows * (self.rank + 1) // self.ranks - rows * self.rank // self.ranks
        return own * self.ranks / rows if rows else 1.0


class Batches:
    """A loader's batches, of which each rank takes its rows.

    All ranks see the same order, whatever their number: it depends on the seed and the epoch. Each
    ``for`` over it is an epoch; epochs that were over when it was resumed yield nothing.

    Args:
        loader: A ``DataLoader``, or anything that yields batches.
        share: Which rows this rank takes.
        device: Where tensors are moved.
        seed: Seed of the order.
        told: Called with these batches before each one.

    Attributes:
        weight: What this rank's part of the newest batch counts; see ``Share.weight``.
        rows: Rows that this rank has taken.
        waited: Seconds for which the training has waited for batches.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        share: Share,
        device: torch.device,
        seed: int,
        told: Callable[["Batches"], None],
    ) -> None:
        self.weight, self.rows, self.waited = 1.0, 0, 0.0
        self._loader, self._share, self._device, self._seed = loader, share, device, seed
        self._told = told
        self._begun = 0
        self._at = self._resumed = (0, 0)

    def __len__(self) -> int:
        length: int = len(self._loader)  # type: ignore[arg-type]
        return length

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        epoch, self._begun = self._begun, self._begun + 1
        resumed, done = self._resumed
        skipped = done if epoch == resumed else 0
        batches = self._of_epoch(epoch, skipped, over=epoch < resumed)
        number = skipped
        try:
            while True:
                asked = perf_counter()
                found = next(batches, None)
                self.waited += perf_counter() - asked
                if found is None:
                    break
                batch, rows = found
                number += 1
                self._at = (epoch, number)
                self.weight = self._share.weight(rows)
                self.rows += len(range(*self._share.of(rows).indices(rows)))
                self._told(self)
                yield tree_map(self._moved, batch)
        finally:  # also where the loop is left before its end
            self._at = max(self._at, (epoch + 1, 0))

    def state_dict(self) -> dict[str, int]:
        """Where it is: the epoch, and how many of its batches were taken."""
        return {"epoch": self._at[0], "batch": self._at[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another was.

        Args:
            state: Its ``state_dict``.
        """
        self._at = self._resumed = (state["epoch"], state["batch"])

    def _of_epoch(self, epoch: int, skipped: int, *, over: bool) -> Iterator[tuple[Any, int]]:
        """This rank's part of each batch, with the rows of the whole batch."""
        loader = self._loader
        is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
        if isinstance(loader, DataLoader) and loader.batch_sampler is not None and not is_stream:
            chosen = self._chosen(loader, epoch)  # also of what is over: samplers may count
            if not over:
                yield from self._loaded(loader, chosen[skipped:])
        elif not over:
            for number, batch in enumerate(loader):
                if number >= skipped:
                    rows = _rows(batch)
                    yield _cut(batch, rows, self._share.of(rows)), rows

    def _chosen(self, loader: "DataLoader[Any]", epoch: int) -> list[list[int]]:
        """The rows of each batch of an epoch, the same on every rank."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed + epoch)  # and no GPU's
            return [list(batch) for batch in loader.batch_sampler]  # type: ignore[union-attr]

    def _loaded(
        self, loader: "DataLoader[Any]", chosen: list[list[int]]
    ) -> Iterator[tuple[Any, int]]:
        own = [batch[self._share.of(len(batch))] for batch in chosen]
        settings = {name: getattr(loader, name) for name in _KEPT}
        part = DataLoader(loader.dataset, batch_sampler=own, **settings)
        for batch, rows in zip(part, chosen, strict=True):
            yield batch, len(rows)

    def _moved(self, value: Any) -> Any:
        if torch.is_tensor(value):
            return value.to(self._device, non_blocking=True)
        return value.to(self._device) if callable(getattr(value, "to", None)) else value


def _rows(batch: Any) -> int:
    """How many rows a batch has: what its tensors and arrays have in common."""
    sizes = {len(leaf) for leaf in tree_leaves(batch) if getattr(leaf, "ndim", 0)}
    return sizes.pop() if len(sizes) == 1 else 0


def _cut(batch: Any, rows: int, part: slice) -> Any:
    """Some rows of a batch; all of it where its parts have different sizes."""
    if not rows:
        return batch
    return tree_map(lambda leaf: leaf[part] if getattr(leaf, "ndim", 0) else leaf, batch)
