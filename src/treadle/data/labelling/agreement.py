"""How far the labellers of a label set agree."""

import numpy as np

from treadle.data.labelling.model import (
    Agreement,
    ClassAgreement,
    LabellerAgreement,
    PairOfLabellers,
    interval,
    known,
)
from treadle.data.labelling.sets import LabelSet, as_number
from treadle.kernel.errors import Invalid
from treadle.stats.agreement import (
    Level,
    Weights,
    agreement_by_class,
    fleiss_kappa,
    krippendorff_alpha,
    observed_agreement,
    pairwise_agreement,
)
from treadle.stats.consensus import against_others
from treadle.stats.metrics import Array


def measure_agreement(
    labels: LabelSet,
    *,
    level: Level = "nominal",
    weights: Weights | None = None,
    by_pair: bool = False,
) -> Agreement:
    """Measure how far the labellers of a label set agree.

    Args:
        labels: The label set; for levels above nominal with its classes in ascending order.
        level: The level of measurement of Krippendorff's alpha.
        weights: How bad a disagreement is in the kappa of two labellers; None takes all as equal.
        by_pair: Whether each two labellers are compared as well.

    Raises:
        Invalid: The level is ``interval`` or ``ratio`` and a class is no number.
    """
    counts = labels.votes.by_item()
    per_item = counts.sum(axis=1)
    alike = bool(per_item.min() == per_item.max()) and per_item[0] > 1
    alpha = krippendorff_alpha(counts, level, _values(labels, level))
    return Agreement(
        items=len(labels.items),
        labellers=len(labels.labellers),
        labels=len(labels.votes.item),
        missing=labels.missing,
        replaced=labels.replaced,
        items_with_several=int((per_item > 1).sum()),
        agreement=known(observed_agreement(counts)),
        level=level,
        krippendorff_alpha=known(alpha),
        fleiss_kappa=known(fleiss_kappa(counts)) if alike else None,
        by_class=_by_class(labels, counts),
        by_labeller=_by_labeller(labels),
        by_pair=_by_pair(labels, weights) if by_pair else [],
    )


def _by_class(labels: LabelSet, counts: Array) -> list[ClassAgreement]:
    shares, totals = agreement_by_class(counts), counts.sum(axis=0)
    return [
        ClassAgreement(label=label, labels=int(total), agreement=known(share))
        for label, total, share in zip(labels.classes, totals, shares, strict=True)
    ]


def _by_labeller(labels: LabelSet) -> list[LabellerAgreement]:
    given = np.bincount(labels.votes.labeller, minlength=len(labels.labellers))
    return [
        LabellerAgreement(
            labeller=labels.labellers[one.labeller],
            labels=int(given[one.labeller]),
            compared=one.items,
            ties=one.ties,
            agreement=interval(one.agreement),
        )
        for one in against_others(labels.votes)
    ]


def _by_pair(labels: LabelSet, weights: Weights | None) -> list[PairOfLabellers]:
    return [
        PairOfLabellers(
            first=labels.labellers[pair.first],
            second=labels.labellers[pair.second],
            items=pair.items,
            agreement=pair.agreement,
            kappa=known(pair.kappa),
        )
        for pair in pairwise_agreement(labels.votes, weights)
    ]


def _values(labels: LabelSet, level: str) -> Array | None:
    """The number that each class stands for, where its level of measurement needs one."""
    if level not in ("interval", "ratio"):
        return None
    numbers = [as_number(name) for name in labels.classes]
    for name, number in zip(labels.classes, numbers, strict=True):
        if number is None:
            raise Invalid(f"Level '{level}' needs numbers; label '{name}' is none. Use 'ordinal'.")
    return np.array(numbers, dtype=np.float64)
