"""What is found out about label sets."""

from treadle.kernel.entity import Entity
from treadle.stats.intervals import Estimate


class Interval(Entity):
    """A value with its 95 % interval; all None where nothing can be said.

    Attributes:
        value: The value.
        low: The lower limit.
        high: The upper limit.
    """

    value: float | None
    low: float | None
    high: float | None


class ClassAgreement(Entity):
    """How far labellers agree on one class.

    Attributes:
        label: The class.
        labels: How many labels it has.
        agreement: When one labeller chose it, the share of the others who chose it as well.
    """

    label: str
    labels: int
    agreement: float | None


class LabellerAgreement(Entity):
    """How often a labeller gives the label that most of the others give: the level of people.

    Attributes:
        labeller: The labeller.
        labels: How many items the labeller has labelled.
        compared: On how many of them others have a majority.
        ties: How many are left out because the others tie.
        agreement: Share of ``compared`` with the label of the others.
    """

    labeller: str
    labels: int
    compared: int
    ties: int
    agreement: Interval


class PairOfLabellers(Entity):
    """How far two labellers agree.

    Attributes:
        first: One labeller.
        second: The other.
        items: How many items both have labelled.
        agreement: Share of them with the same label.
        kappa: Cohen's kappa; None where both gave one and the same label to all.
    """

    first: str
    second: str
    items: int
    agreement: float
    kappa: float | None


class Agreement(Entity):
    """How far the labellers of a label set agree.

    Attributes:
        items: How many items have a label.
        labellers: How many labellers there are.
        labels: How many labels count.
        missing: Rows without a label, which do not count.
        replaced: Labels that a later one of the same item and labeller replaces.
        items_with_several: How many items have two labels or more.
        agreement: Share of pairs of labels of an item that are equal.
        level: The level of measurement of Krippendorff's alpha.
        krippendorff_alpha: Krippendorff's alpha; None where it is not defined.
        fleiss_kappa: Fleiss' kappa; None where items differ in how many labels they have.
        by_class: Agreement on each class.
        by_labeller: Each labeller beside the majority of the others.
        by_pair: Each two labellers, where asked for.
    """

    items: int
    labellers: int
    labels: int
    missing: int
    replaced: int
    items_with_several: int
    agreement: float | None
    level: str
    krippendorff_alpha: float | None
    fleiss_kappa: float | None
    by_class: list[ClassAgreement]
    by_labeller: list[LabellerAgreement]
    by_pair: list[PairOfLabellers] = []


class ItemConsensus(Entity):
    """The one label of an item.

    Attributes:
        item: The item.
        label: Its label by consensus.
        confidence: Share of its labels that are this one (``majority``), or the posterior
            probability of this class (``dawid-skene``).
        labels: How many labels it has.
        tied: Whether another class is as good; the first in the order of classes was taken.
    """

    item: str
    label: str
    confidence: float
    labels: int
    tied: bool


class LabellerQuality(Entity):
    """What the model of Dawid and Skene says of a labeller.

    Attributes:
        labeller: The labeller.
        accuracy: Probability of the right label for an item of the set.
        confusion: Probability of each label, by the true class.
    """

    labeller: str
    accuracy: float
    confusion: dict[str, dict[str, float]]


class Consensus(Entity):
    """One label for each item of a label set.

    Attributes:
        method: ``majority`` or ``dawid-skene``.
        items: The items in the order of the set.
        ties: How many items are tied.
        converged: Whether EM has converged; true for ``majority``.
        labellers: How good each labeller is; empty for ``majority``.
    """

    method: str
    items: list[ItemConsensus]
    ties: int
    converged: bool
    labellers: list[LabellerQuality]


class AmbiguousItem(Entity):
    """An item that labellers disagree on.

    Attributes:
        item: The item.
        entropy: Uncertainty of its class after the labels, in bits.
        label: Its likeliest class.
        labels: How many labels each class has.
    """

    item: str
    entropy: float
    label: str
    labels: dict[str, int]


class Effort(Entity):
    """What more labels take.

    Attributes:
        more: How many labels are wanted.
        timed: From how many labels with a time it is estimated.
        mean_seconds: Mean time of a label.
        median_seconds: Median time of a label; far below the mean where breaks are counted.
        hours: Working time of all labels, in hours.
        rate: Price of an hour, if one is given.
        cost: Price of all labels, in the unit of the rate.
    """

    more: int
    timed: int
    mean_seconds: float
    median_seconds: float
    hours: Interval
    rate: float | None = None
    cost: Interval | None = None


class WrongLabel(Entity):
    """A label that is probably wrong.

    Attributes:
        row: The row, the first one after the header is 1.
        id: What names the row, if a column does.
        label: The label that the table gives.
        suggested: The class that the model prefers.
        margin: Probability of ``suggested`` less that of ``label``.
    """

    row: int
    label: str
    suggested: str
    margin: float
    id: str | None = None


class WrongLabels(Entity):
    """Labels of a table that are probably wrong.

    Attributes:
        rows: How many rows were checked.
        classes: The classes.
        found: How many labels are probably wrong.
        errors: The likeliest errors first, as many as were asked for.
        unlabelled: Rows without a label, which were left out.
        rare: Classes with too few rows to be checked, and how many rows each has.
        features: The columns that the model learnt from.
        unused: Columns of text with too many different values, which it did not learn from.
    """

    rows: int
    classes: list[str]
    found: int
    errors: list[WrongLabel]
    unlabelled: int
    rare: dict[str, int]
    features: list[str]
    unused: list[str]


class Standardised(Entity):
    """What became of the labels of a set under a schema.

    Attributes:
        labels: How many labels are left.
        uncertain: How many were left out because the labeller was uncertain.
        missing: Rows without a label, which were left out.
        renamed: How many labels had each name that is mapped to another.
        classes: How many labels each class has.
    """

    labels: int
    uncertain: int
    missing: int
    renamed: dict[str, int]
    classes: dict[str, int]


def interval(estimate: Estimate) -> Interval:
    """Make an interval of an estimate.

    Args:
        estimate: A value with its limits, NaN where nothing can be said.
    """
    return Interval(value=known(estimate.value), low=known(estimate.low), high=known(estimate.high))


def known(number: float) -> float | None:
    """Turn NaN into None.

    Args:
        number: Any number.
    """
    return None if number != number else float(number)
