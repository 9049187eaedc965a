"""One label for each item of a label set, and the items that labellers disagree on most."""

from typing import Literal, get_args

import numpy as np

from treadle.data.labelling.model import AmbiguousItem, Consensus, ItemConsensus, LabellerQuality
from treadle.data.labelling.sets import LabelSet
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.stats.consensus import DawidSkene, dawid_skene, entropy, majority
from treadle.stats.metrics import Array

Method = Literal["majority", "dawid-skene"]


def find_consensus(labels: LabelSet, method: Method = "majority") -> Consensus:
    """Choose one label for each item.

    Args:
        labels: The label set.
        method: ``majority`` counts each label once; ``dawid-skene`` weighs labellers by the errors
            that they make, which it estimates as well.

    Raises:
        Invalid: There is no such method.
    """
    if method not in get_args(Method):
        raise Invalid(f"There is no method '{method}'.{did_you_mean(method, get_args(Method))}")
    counts = labels.votes.by_item()
    if method == "majority":
        found = majority(counts)
        items = _items(labels, counts, found.label, found.share, found.tied)
        return _consensus(method, items)
    model = dawid_skene(labels.votes)
    best = model.posterior.max(axis=1)
    tied = (model.posterior > best[:, None] - 1e-9).sum(axis=1) > 1
    items = _items(labels, counts, model.posterior.argmax(axis=1), best, tied)
    return _consensus(method, items, model.converged, _quality(labels, model))


def most_ambiguous(labels: LabelSet, limit: int = 20) -> list[AmbiguousItem]:
    """List the items whose class is least certain after all labels, the most uncertain first.

    The uncertainty is the entropy of the posterior of Dawid and Skene; of equal ones the item
    comes first whose labels differ more, then the one that is first in the set.

    Args:
        labels: The label set.
        limit: The most items.
    """
    counts = labels.votes.by_item()
    posterior = dawid_skene(labels.votes).posterior
    bits, spread = entropy(posterior), entropy(counts / counts.sum(axis=1, keepdims=True))
    order = np.lexsort((np.arange(len(bits)), -spread, -np.round(bits, 9)))[:limit]
    return [
        AmbiguousItem(
            item=labels.items[place],
            entropy=float(bits[place]),
            label=labels.classes[int(posterior[place].argmax())],
            labels={
                label: int(count)
                for label, count in zip(labels.classes, counts[place], strict=True)
                if count
            },
        )
        for place in order.tolist()
        if spread[place] > 0
    ]


def _consensus(
    method: Method,
    items: list[ItemConsensus],
    converged: bool = True,
    labellers: list[LabellerQuality] | None = None,
) -> Consensus:
    return Consensus(
        method=method,
        items=items,
        ties=sum(item.tied for item in items),
        converged=converged,
        labellers=labellers or [],
    )


def _items(
    labels: LabelSet, counts: Array, chosen: Array, confidence: Array, tied: Array
) -> list[ItemConsensus]:
    columns = (chosen.tolist(), confidence.tolist(), counts.sum(axis=1).tolist(), tied.tolist())
    return [
        ItemConsensus(
            item=item, label=labels.classes[label], confidence=sure, labels=number, tied=is_tied
        )
        for item, label, sure, number, is_tied in zip(labels.items, *columns, strict=True)
    ]


def _quality(labels: LabelSet, model: DawidSkene) -> list[LabellerQuality]:
    return [
        LabellerQuality(
            labeller=name,
            accuracy=float(model.prior @ np.diag(confusion)),
            confusion={
                true: dict(zip(labels.classes, row.tolist(), strict=True))
                for true, row in zip(labels.classes, confusion, strict=True)
            },
        )
        for name, confusion in zip(labels.labellers, model.confusion, strict=True)
    ]
