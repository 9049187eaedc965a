"""The group ``labels``: sets of labels by several labellers, and labels that may be wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from treadle.cli.output import (
    Json,
    console,
    markup,
    print_json,
    print_table,
    progress_bar,
    show,
    show_duration,
)
from treadle.cli.verbs import add_verbs

if TYPE_CHECKING:
    from treadle.data.labelling.model import Agreement, Consensus, Effort, Interval, WrongLabels
    from treadle.data.labelling.sets import Columns, LabelRow

SetFile = Annotated[
    Path, typer.Argument(help="CSV or Parquet with one row for each item and labeller.")
]
Out = Annotated[Path, typer.Argument(help="The CSV file to write.")]
Item = Annotated[str, typer.Option(help="The column that names the item.")]
Labeller = Annotated[str, typer.Option(help="The column that names the labeller.")]
Label = Annotated[str, typer.Option(help="The column that holds the label.")]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", help="A class, in order; once for each (default: those that occur)."),
]
Limit = Annotated[int, typer.Option(min=1, help="The most that are listed.")]
Method = Annotated[
    Literal["majority", "dawid-skene"],
    typer.Option(
        metavar="[majority|dawid-skene]", help="Count labels, or weigh labellers by their errors."
    ),
]
Level = Annotated[
    Literal["nominal", "ordinal", "interval", "ratio"],
    typer.Option(
        metavar="[nominal|ordinal|interval|ratio]",
        help="What distances between labels mean, for Krippendorff's alpha.",
    ),
]
Weights = Annotated[
    Literal["linear", "quadratic"] | None,
    typer.Option(
        metavar="[linear|quadratic]",
        help="How the kappa of two labellers weighs a disagreement by its distance.",
    ),
]
Format = Annotated[
    Literal["label-studio", "coco"],
    typer.Option(metavar="[label-studio|coco]", help="The tool that is to read it."),
]


def add_to(app: typer.Typer) -> None:
    """Add the group to the app.

    Args:
        app: The app.
    """
    about = "Measure how labellers agree, settle on labels, and find wrong ones."
    group = typer.Typer(no_args_is_help=True, help=about)
    add_verbs(group, agreement, consensus, ambiguous, errors, effort, standardise, import_, export)
    app.add_typer(group, name="labels")


def agreement(
    file: SetFile,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    classes: Classes = None,
    level: Level = "nominal",
    weights: Weights = None,
    by_pair: Annotated[
        bool, typer.Option("--by-pair", help="Compare each two labellers as well.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure how far labellers agree: Krippendorff's alpha, kappas, each labeller and class."""
    from treadle.data.labelling.agreement import measure_agreement
    from treadle.data.labelling.sets import read_label_set

    labels = read_label_set(file, _columns(item, labeller, label), classes or ())
    measured = measure_agreement(labels, level=level, weights=weights, by_pair=by_pair)
    if json:
        print_json(measured)
    else:
        _print_agreement(measured, by_pair)


def consensus(
    file: SetFile,
    method: Method = "majority",
    output: Annotated[
        Path | None, typer.Option(help="A CSV file to write: one row for each item.")
    ] = None,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    classes: Classes = None,
    json: Json = False,
) -> None:
    """Settle on one label for each item; ties go to the first class in order and are counted."""
    from treadle.data.labelling.consensus import find_consensus
    from treadle.data.labelling.sets import read_label_set, write_csv

    labels = read_label_set(file, _columns(item, labeller, label), classes or ())
    found = find_consensus(labels, method)
    if output is not None:
        _refuse_same(file, output)
        names = ("item", "label", "confidence", "labels", "tied")
        rows = ([getattr(one, name) for name in names] for one in found.items)
        write_csv(output, names, rows)
    if json:
        print_json(found)
    else:
        _print_consensus(found, output)


def ambiguous(
    file: SetFile,
    limit: Limit = 20,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    classes: Classes = None,
    json: Json = False,
) -> None:
    """List the items that labellers disagree on most, for people to look at again."""
    from treadle.data.labelling.consensus import most_ambiguous
    from treadle.data.labelling.sets import read_label_set

    labels = read_label_set(file, _columns(item, labeller, label), classes or ())
    found = most_ambiguous(labels, limit)
    if json:
        print_json(found)
    elif not found:
        console.print("The labellers agree on every item.")
    else:
        rows = [(one.item, one.entropy, one.label, _counts(one.labels)) for one in found]
        print_table("", ("item", "entropy (bits)", "likeliest", "labels"), rows)


def errors(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet: a table of features with a column of labels.")
    ],
    label: Annotated[str, typer.Option(help="The column of labels, which are classes.")],
    id: Annotated[
        str | None, typer.Option(help="A column that names the rows; it is no feature.")
    ] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Find labels that are probably wrong, by a classifier that has not seen the row."""
    from treadle.data.labelling.label_errors import find_wrong_labels

    with progress_bar(json) as progress:
        found = find_wrong_labels(file, label, id=id, limit=limit, progress=progress)
    if json:
        print_json(found)
    else:
        _print_wrong(found, id)


def effort(
    file: SetFile,
    more: Annotated[int, typer.Option(min=1, help="How many labels are wanted.")],
    rate: Annotated[float | None, typer.Option(min=0, help="The price of an hour.")] = None,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    json: Json = False,
) -> None:
    """Estimate how long more labels take, and what they cost, from the column 'seconds'."""
    from treadle.data.labelling.effort import estimate_effort

    estimated = estimate_effort(_rows(file, item, labeller, label), more, rate)
    if json:
        print_json(estimated)
    else:
        _print_effort(estimated)


def standardise(
    file: SetFile,
    out: Out,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="OLD=NEW: a synonym, or a class that is merged; repeat it."),
    ] = None,
    uncertain: Annotated[
        str | None,
        typer.Option(help="The label of who cannot tell: left out of the file, and counted."),
    ] = None,
    classes: Classes = None,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    json: Json = False,
) -> None:
    """Bring the labels of a set to one schema: synonyms, merged classes, 'uncertain'."""
    from treadle.data.labelling import schema
    from treadle.data.labelling.sets import write_rows

    _refuse_same(file, out)
    declared = schema.LabelSchema(
        classes=tuple(classes or ()), uncertain=uncertain, renamed=schema.mapping(map or [])
    )
    kept, done = schema.standardise(_rows(file, item, labeller, label), declared)
    write_rows(out, kept)
    if json:
        print_json(done)
        return
    print_table("", ("class", "labels"), done.classes.items())
    for old, count in done.renamed.items():
        console.print(f"Renamed '{old}' to '{declared.renamed[old]}': {count:,}", markup=False)
    console.print(
        f"{done.labels:,} labels written; left out: {done.uncertain:,} uncertain, "
        f"{done.missing:,} rows without a label."
    )


def import_(
    source: Annotated[
        Path, typer.Argument(help="JSON of Label Studio (tasks with choices) or of COCO.")
    ],
    out: Out,
    labeller: Annotated[
        str, typer.Option(help="Who has made annotations that name nobody.")
    ] = "unknown",
    item: Annotated[
        str | None, typer.Option(help="The key of Label Studio's data that names the item.")
    ] = None,
    json: Json = False,
) -> None:
    """Take the labels of Label Studio or COCO over into a label set."""
    from treadle.data.labelling import coco, label_studio
    from treadle.data.labelling.exchange import read_document
    from treadle.data.labelling.sets import write_rows
    from treadle.kernel.errors import Invalid

    document = read_document(source)
    if isinstance(document, list):
        rows, taken = label_studio.from_tasks(document, labeller=labeller, item=item)
    elif isinstance(document, dict) and "annotations" in document:
        rows, taken = coco.from_document(document, labeller=labeller)
    else:
        raise Invalid(
            f"'{source}' is neither a list of Label Studio's tasks nor a COCO document "
            "with images, categories and annotations."
        )
    write_rows(out, rows)
    if json:
        print_json(taken)
        return
    console.print(f"Took {taken.labels:,} labels from {markup(taken.format)}.")
    for what, count in taken.left_out.items():
        console.print(f"Left out: {count:,} {markup(what)}", soft_wrap=True)


def export(
    file: SetFile,
    out: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    format: Format,
    item: Item = "item",
    labeller: Labeller = "labeller",
    label: Label = "label",
    json: Json = False,
) -> None:
    """Write a label set as JSON for Label Studio, or as COCO."""
    from treadle.data.labelling import coco, label_studio
    from treadle.data.labelling.sets import write_file
    from treadle.kernel.entity import to_json

    _refuse_same(file, out)
    rows = [row for row in _rows(file, item, labeller, label) if row.label]
    written = label_studio.to_tasks(rows) if format == "label-studio" else coco.to_document(rows)
    write_file(out, to_json(written))
    if json:
        print_json({"file": str(out), "format": format, "labels": len(rows)})
    else:
        console.print(f"Wrote {len(rows):,} labels to '{out}'.", markup=False, soft_wrap=True)


def _columns(item: str, labeller: str, label: str) -> "Columns":
    from treadle.data.labelling.sets import Columns

    return Columns(item, labeller, label)


def _rows(file: Path, item: str, labeller: str, label: str) -> "list[LabelRow]":
    from treadle.data.labelling.sets import read_rows

    return read_rows(file, _columns(item, labeller, label))


def _refuse_same(file: Path, out: Path) -> None:
    """A file is not replaced by what is made of it."""
    from treadle.kernel.errors import Invalid

    if out.exists() and out.samefile(file):
        raise Invalid(f"'{out}' is the file that is read. Name another one to write.")


def _print_agreement(measured: "Agreement", by_pair: bool) -> None:
    console.print(
        f"{measured.labels:,} labels of {measured.items:,} items by {measured.labellers:,} "
        f"labellers; {measured.items_with_several:,} items have several. "
        f"Not counted: {measured.missing:,} missing, {measured.replaced:,} replaced.",
        soft_wrap=True,
    )
    overall = (
        ("equal pairs of labels", measured.agreement),
        (f"Krippendorff's alpha ({measured.level})", measured.krippendorff_alpha),
        ("Fleiss' kappa", measured.fleiss_kappa),
    )
    print_table("", ("agreement", ""), overall)
    of_classes = [(one.label, one.labels, one.agreement) for one in measured.by_class]
    console.print()
    print_table("On each class", ("class", "labels", "agreement"), of_classes)
    of_labellers = [
        (one.labeller, one.labels, one.compared, _limits(one.agreement))
        for one in measured.by_labeller
    ]
    title = "Beside the majority of the others"
    console.print()
    print_table(title, ("labeller", "labels", "compared", "agreement (95 %)"), of_labellers)
    if by_pair:
        pairs = [(one.first, one.second, one.items, one.kappa) for one in measured.by_pair]
        console.print()
        print_table("By pair", ("first", "second", "items", "kappa"), pairs)


def _print_consensus(found: "Consensus", output: Path | None) -> None:
    names = ("item", "label", "confidence", "labels", "tied")
    rows = [[getattr(one, name) for name in names] for one in found.items[:10]]
    print_table("", names, rows)
    if found.labellers:
        of_labellers = [(one.labeller, one.accuracy) for one in found.labellers]
        console.print()
        print_table("Labellers", ("labeller", "accuracy"), of_labellers)
    shown = ", the first 10 are shown" if len(found.items) > 10 else ""
    console.print(f"{len(found.items):,} items, {found.ties:,} ties{markup(shown)}.")
    if not found.converged:
        console.print("EM has not converged: too few labels for so many labellers.")
    if output is not None:
        console.print(f"Written to '{output}'.", markup=False, soft_wrap=True)


def _print_wrong(found: "WrongLabels", id: str | None) -> None:
    names = ("row", *((id,) if id else ()), "label", "suggested", "margin")
    rows = [
        (one.row, *((one.id,) if id else ()), one.label, one.suggested, one.margin)
        for one in found.errors
    ]
    if rows:
        print_table("", names, rows)
    shown = f", the first {len(rows)} are shown" if len(rows) < found.found else ""
    console.print(f"{found.found:,} of {found.rows:,} labels are probably wrong{markup(shown)}.")
    if found.rare:
        console.print(f"Too rare to be checked: {markup(_counts(found.rare))}", soft_wrap=True)
    if found.unused:
        names_unused = ", ".join(found.unused)
        console.print(f"Not learnt from: {markup(names_unused)}", soft_wrap=True)


def _print_effort(estimated: "Effort") -> None:
    hours = estimated.hours
    limits = (hours.value, hours.low, hours.high)
    value, low, high = (show_duration(3600 * (one or 0)) for one in limits)
    console.print(
        f"{estimated.more:,} more labels take {value} (95 %: {low} to {high}), "
        f"by {estimated.timed:,} labels of {estimated.mean_seconds:.3g} s on average "
        f"(median {estimated.median_seconds:.3g} s).",
        markup=False,
        soft_wrap=True,
    )
    if estimated.cost is not None:
        console.print(f"At {estimated.rate:g} an hour they cost {markup(_limits(estimated.cost))}.")


def _limits(interval: "Interval") -> str:
    if interval.value is None:
        return ""
    return f"{show(interval.value)} ({show(interval.low)} to {show(interval.high)})"


def _counts(labels: dict[str, int]) -> str:
    return ", ".join(f"{label} {count}" for label, count in labels.items())
