"""A label schema: the classes, the one that means "uncertain", and other names of classes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from treadle.data.labelling.model import Standardised
from treadle.data.labelling.sets import LabelRow, in_order
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean


class LabelSchema(Entity):
    """Which labels there are.

    Attributes:
        classes: The classes in their order; empty takes whatever occurs.
        uncertain: The label of a labeller who cannot tell. It is no class: it is left out of
            labels for training, and counted. None where there is none.
        renamed: Other names and the class that each stands for: synonyms, and classes that are
            merged into one.
    """

    classes: tuple[str, ...] = ()
    uncertain: str | None = None
    renamed: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse a mapping that is not one step, or that leads nowhere.

        Raises:
            Invalid: A name is mapped to one that is mapped itself, or to no class.
        """
        for old, new in self.renamed.items():
            if new in self.renamed and old != new:
                raise Invalid(
                    f"'{old}' is mapped to '{new}', which is mapped to '{self.renamed[new]}'. "
                    f"Map '{old}' to the class itself."
                )
            if self.classes and new not in (*self.classes, self.uncertain):
                raise Invalid(
                    f"'{old}' is mapped to '{new}', which is none of the classes."
                    f"{did_you_mean(new, self.classes)}"
                )
        if self.uncertain in self.classes:
            raise Invalid(
                f"'{self.uncertain}' is declared as a class and as uncertain. Choose one of them."
            )


def mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read a mapping of names that was typed.

    Args:
        pairs: Texts such as ``old=new``; the last equals sign divides.

    Raises:
        Invalid: A text is no pair, or a name is mapped twice.
    """
    read: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        if not (old and equals and new):
            raise Invalid(f"'{pair}' maps no name. Write OLD=NEW.")
        if read.setdefault(old, new) != new:
            raise Invalid(f"'{old}' is mapped to '{read[old]}' and to '{new}'. Choose one of them.")
    return read


def standardise(
    rows: Iterable[LabelRow], schema: LabelSchema
) -> tuple[list[LabelRow], Standardised]:
    """Bring labels to a schema: other names become classes, uncertain labels are left out.

    Args:
        rows: The rows of a label set.
        schema: The schema.

    Returns:
        The rows that are left, and what became of the others.

    Raises:
        Invalid: A label is none of the schema's classes.
    """
    kept: list[LabelRow] = []
    uncertain = missing = 0
    renamed = Counter(dict.fromkeys(schema.renamed, 0))
    for row in rows:
        renamed[row.label] += row.label in schema.renamed
        label = schema.renamed.get(row.label, row.label)
        if not label:
            missing += 1
        elif label == schema.uncertain:
            uncertain += 1
        elif schema.classes and label not in schema.classes:
            raise Invalid(
                f"'{label}', the label of item '{row.item}' by '{row.labeller}', is none of the "
                f"classes.{did_you_mean(label, schema.classes)}"
            )
        else:
            kept.append(row._replace(label=label))
    counts = Counter(row.label for row in kept)
    order = schema.classes or in_order(counts)
    return kept, Standardised(
        labels=len(kept),
        uncertain=uncertain,
        missing=missing,
        renamed={old: renamed[old] for old in schema.renamed},
        classes={label: counts[label] for label in order},
    )
