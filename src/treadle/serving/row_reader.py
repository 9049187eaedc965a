"""Reads requests in any accepted shape into matrices, checked against the model's signature."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import from_plain, reading
from treadle.kernel.errors import Invalid, TooLarge, did_you_mean
from treadle.ports.runtime import Field, Layout, Signature
from treadle.serving.rows import NONE_LACKING, Rows

MAX_ROWS = 10_000

_TYPES: dict[str, Any] = {"number": float, "text": str}


class Split(msgspec.Struct, forbid_unknown_fields=True):
    """Rows as pandas writes them with `orient="split"`."""

    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | None = None


class RowReader:
    """Reads requests for one signature, and for others that share its requests.

    The rows' `layout` holds the signature's inputs, then those that only the others have: these may
    be missing in a request.

    Args:
        signature: The champion's signature.
        others: The signatures of the other variants.
    """

    def __init__(self, signature: Signature, others: Sequence[Signature] = ()) -> None:
        self.signature = signature
        required = {field.name: field for field in signature.inputs}
        extra = {
            field.name: field
            for other in others
            for field in other.inputs
            if field.name not in required
        }
        self.fields = [*required.values(), *extra.values()]
        self.layout = Layout(self.fields)
        self.required, self.optional = list(required), frozenset(extra)
        names = {f"f{index}": field.name for index, field in enumerate(self.fields)}
        types = [_TYPES[field.kind] | None for field in self.fields]
        attributes: list[Any] = list(zip(names, types, strict=True))[: len(required)]
        for attribute, kind in list(zip(names, types, strict=True))[len(required) :]:
            attributes.append((attribute, kind | msgspec.UnsetType, msgspec.UNSET))
        self._row: type[msgspec.Struct] = msgspec.defstruct(
            "Row", attributes, rename=names, forbid_unknown_fields=True
        )
        listed: Any = list[tuple[*types[: len(required)]]] if required else list[Any]  # type: ignore[misc]
        self._body_type = _body_type(list[Any], list[self._row])  # type: ignore[name-defined]
        self._body: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._body_type)
        self._usual: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            _body_type(listed, list[self._row])  # type: ignore[name-defined]
        )
        kinds = [field.kind for field in self.fields]
        self._pick_numbers = _picker(
            [index for index, kind in enumerate(kinds) if kind == "number"]
        )
        self._pick_texts = _picker([index for index, kind in enumerate(kinds) if kind == "text"])
        self._fill = (None,) * len(extra)

    def scoring(self, content: bytes) -> tuple[Rows, str | None]:
        """Read a scoring body: one of dataframe_records, dataframe_split, instances, inputs.

        MLflow, KServe's first protocol and Vertex AI all send one of these.

        Args:
            content: The body, as JSON.

        Returns:
            The rows, and the request's id if it has one.

        Raises:
            Invalid: The body does not fit the signature.
            TooLarge: There are more than `MAX_ROWS` rows.
        """
        try:
            # Rows as lists of the right types, or as objects: nothing is left to check.
            body = self._usual.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._unusual(content)
        if (
            body.instances is not None
            and body.inputs is body.dataframe_records is body.dataframe_split is None
        ):
            return self._gather(self._bounded(body.instances)), body.id
        if (
            body.inputs is not None
            and body.instances is body.dataframe_records is body.dataframe_split is None
        ):
            return self._gather(self._bounded(body.inputs)), body.id
        return self._read(body)

    def csv(self, content: bytes) -> Rows:
        """Read rows of CSV text.

        Args:
            content: Text in UTF-8 with a header line; an empty field is null.

        Raises:
            Invalid: The text is no CSV in UTF-8, or does not fit the signature.
            TooLarge: There are more than `MAX_ROWS` rows.
        """
        try:
            text = io.StringIO(content.decode("utf-8-sig"), newline="")
            lines = list(csv.reader(text, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise Invalid(f"The body is not CSV text in UTF-8: {error}.") from error
        if not lines:
            raise Invalid("The body has no header line.")
        header, *body = lines
        refuse_twins(header, "column")
        for number, line in enumerate(body, 2):
            if line and len(line) != len(header):
                raise Invalid(
                    f"Line {number} has {len(line)} fields, the header has {len(header)}."
                )
        rows = [
            dict(zip(header, (field or None for field in line), strict=True))
            for line in body
            if line
        ]
        return self._records(rows, strict=False)

    def columns(self, given: dict[str, NDArray[Any]]) -> Rows:
        """Read rows of whole columns.

        Args:
            given: Arrays by the inputs' names: numbers in any precision, or objects (`str` or
                None) for text.

        Raises:
            Invalid: The columns do not fit the signature, or differ in length.
            TooLarge: There are more than `MAX_ROWS` rows.
        """
        for name in given:
            if name not in self.layout.places:
                suggestion = did_you_mean(name, list(self.layout.places))
                raise Invalid(f"The model has no input '{name[:60]}'.{suggestion}")
        absent = next((name for name in self.required if name not in given), None)
        if absent is not None:
            raise Invalid(f"Field '{absent}' is missing.")
        sizes = {len(values) for values in given.values()}
        if len(sizes) > 1:
            raise Invalid(f"The columns have different numbers of rows: {sorted(sizes)}.")
        rows = sizes.pop() if sizes else 0
        self._bounded(range(rows))
        numbers = np.full((rows, len(self.layout.numbers)), np.nan)
        texts = np.full((rows, len(self.layout.texts)), None, dtype=object)
        for field in self.fields:
            if field.name in given:
                matrix = numbers if field.kind == "number" else texts
                matrix[:, self.layout.places[field.name]] = self._kept(field, given[field.name])
        return Rows(numbers, texts, frozenset(self.optional - given.keys()))

    def matrix(self, numbers: NDArray[Any]) -> Rows:
        """Read rows of one matrix, for a model that takes numbers only.

        Args:
            numbers: An array (rows, required inputs).

        Raises:
            Invalid: The array has another shape, or the model takes text.
            TooLarge: There are more than `MAX_ROWS` rows.
        """
        if self.layout.texts or self.optional or numbers.shape[1:] != (len(self.required),):
            raise Invalid(
                f"A tensor of shape {list(numbers.shape)} was sent; "
                f"this model takes [rows, {len(self.required)}] of numbers."
            )
        self._bounded(range(len(numbers)))
        return Rows(numbers, np.empty((len(numbers), 0), dtype=object))

    def _unusual(self, content: bytes) -> tuple[Rows, str | None]:
        """Read loosely what the usual types do not cover; then check it, naming what is wrong."""
        with reading(self._body_type):
            body = self._body.decode(content)
        return self._read(body)

    def _read(self, body: Any) -> tuple[Rows, str | None]:
        forms = ("dataframe_records", "dataframe_split", "instances", "inputs")
        given = [name for name in forms if getattr(body, name) is not None]
        if len(given) != 1:
            raise Invalid(
                f"Send exactly one of {', '.join(forms)}; "
                f"this request has {' and '.join(given) or 'none'}."
            )
        value = getattr(body, given[0])
        if given[0] == "dataframe_records":
            return self._structs(self._bounded(value)), body.id
        return self._split(value) if isinstance(value, Split) else self._instances(value), body.id

    def _instances(self, value: Any) -> Rows:
        """Read rows as objects, or as lists in the order of the inputs; or columns by name."""
        if isinstance(value, dict):
            for name, column in value.items():
                if not isinstance(column, list):
                    raise Invalid(
                        f"Column '{name[:60]}' is not a list of values, one for each row."
                    )
            value = _rows_of(value)
        if not isinstance(value, list):
            raise Invalid(
                "Rows must be a list of objects, or of lists in the order of the model's inputs."
            )
        return self._records(
            [row if isinstance(row, dict) else dict(self._pairs(row)) for row in value]
        )

    def _split(self, split: Split) -> Rows:
        refuse_twins(split.columns, "column")
        for number, row in enumerate(split.data):
            if len(row) != len(split.columns):
                raise Invalid(
                    f"Row {number} of 'data' has {len(row)} values; "
                    f"{len(split.columns)} values are wanted."
                )
        return self._records([dict(zip(split.columns, row, strict=True)) for row in split.data])

    def _pairs(self, row: Any) -> Iterable[tuple[str, Any]]:
        if not isinstance(row, list) or len(row) != len(self.required):
            raise Invalid(f"Each row must be an object or a list of {len(self.required)} values.")
        return zip(self.required, row, strict=True)

    def _records(self, rows: list[dict[str, Any]], *, strict: bool = True) -> Rows:
        structs = from_plain(self._bounded(rows), list[self._row], strict=strict)  # type: ignore[name-defined]
        return self._structs(structs)

    def _structs(self, rows: list[Any]) -> Rows:
        values = list(map(msgspec.structs.astuple, rows))
        if not self.optional:
            return self._gather(values)
        unset = msgspec.UNSET
        lacks = {
            field.name
            for index, field in enumerate(self.fields)
            if field.name in self.optional and any(row[index] is unset for row in values)
        }
        if lacks:
            values = [tuple(None if value is unset else value for value in row) for row in values]
        gathered = self._gather(values)
        return Rows(gathered.numbers, gathered.texts, frozenset(lacks))

    def _gather(self, rows: Sequence[tuple[Any, ...]]) -> Rows:
        """Tuples of values in the order of the fields as rows; trailing optional ones may lack."""
        lacks = NONE_LACKING
        if self.optional and rows and len(rows[0]) < len(self.fields):
            rows, lacks = [row + self._fill for row in rows], self.optional
        numbers = _matrix(rows, self._pick_numbers, len(self.layout.numbers), np.float64)
        return Rows(numbers, _matrix(rows, self._pick_texts, len(self.layout.texts), object), lacks)

    def _kept(self, field: Field, values: NDArray[Any]) -> NDArray[Any]:
        numeric = values.dtype.kind in "fiub"
        if numeric is (field.kind == "number"):
            return values
        taken = "numbers" if field.kind == "number" else "text"
        sent = "numbers were" if numeric else "text was"
        raise Invalid(f"Input '{field.name}' takes {taken}; {sent} sent.")

    def _bounded(self, rows: Any) -> Any:
        if len(rows) > MAX_ROWS:
            raise TooLarge(
                f"The request has {len(rows)} rows; at most {MAX_ROWS} are taken. "
                "Send several requests."
            )
        return rows


def refuse_twins(names: list[str], what: str) -> None:
    """Check that no name occurs twice.

    Args:
        names: The names.
        what: What the names are of, such as `column`.

    Raises:
        Invalid: A name occurs twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Invalid(f"The {what} '{name[:60]}' is there twice.")
        seen.add(name)


def _body_type(listed: Any, records: Any) -> type[msgspec.Struct]:
    """A scoring body whose rows, where they are lists, are `listed`.

    Where that says nothing, `inputs` may be columns.
    """
    fields: list[Any] = [
        ("instances", listed | None, None),
        ("inputs", Any if listed == list[Any] else listed | None, None),
        ("dataframe_records", records | None, None),
        ("dataframe_split", Split | None, None),
        ("params", dict[str, Any] | None, None),
        ("parameters", dict[str, Any] | None, None),
        ("signature_name", str | None, None),
        ("id", str | None, None),
    ]
    return msgspec.defstruct("Body", fields, forbid_unknown_fields=True)


def _picker(indices: list[int]) -> Callable[[tuple[Any, ...]], Any] | None:
    """Takes values out of a row; None where they are the first ones, which numpy takes whole."""
    if indices == list(range(len(indices))):
        return None
    return itemgetter(*indices) if len(indices) > 1 else lambda row: (row[indices[0]],)


def _matrix(
    rows: Sequence[tuple[Any, ...]],
    pick: Callable[[tuple[Any, ...]], Any] | None,
    width: int,
    kind: Any,
) -> NDArray[Any]:
    if not width or not rows:
        return np.empty((len(rows), width), dtype=kind)
    if pick is not None:
        rows = list(map(pick, rows))
    elif len(rows[0]) > width:
        rows = [row[:width] for row in rows]
    return np.array(rows, dtype=kind)


def _rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns of equal length as rows."""
    sizes = {len(values) for values in columns.values()}
    if len(sizes) > 1:
        raise Invalid(f"The columns have different numbers of rows: {sorted(sizes)}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
