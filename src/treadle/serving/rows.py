"""Requests in any of the accepted shapes become typed rows, checked by the model's signature in compiled code."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import from_plain, reading
from treadle.kernel.errors import Invalid, TooLarge, did_you_mean
from treadle.ports.runtime import Field, Signature

MAX_ROWS = 10_000

_TYPES: dict[str, Any] = {"number": float, "text": str}
_NUMBERS = {"FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"}


class Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | None = None


class V2Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class V2Request(msgspec.Struct):
    inputs: list[V2Input]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[dict[str, Any]] | None = None


class RowReader:
    """Reads requests for one signature, and for others that share its requests.

    Rows are structs whose attributes are ``f0``, ``f1``, … in the order of the signature's inputs, then of those inputs that
    only the others have: these may be missing in a request.
    """

    def __init__(self, signature: Signature, others: Sequence[Signature] = ()) -> None:
        self.signature = signature
        required = {field.name: field for field in signature.inputs}
        extra = {f.name: f for other in others for f in other.inputs if f.name not in required}
        names = {f"f{place}": name for place, name in enumerate([*required, *extra])}
        self._optional = set(extra)
        self._attributes = {name: attribute for attribute, name in names.items()}
        fields: list[Any] = [(self._attributes[name], _TYPES[field.kind] | None) for name, field in required.items()]
        for name, field in extra.items():
            fields.append((self._attributes[name], _TYPES[field.kind] | None | msgspec.UnsetType, msgspec.UNSET))
        self.row: type[msgspec.Struct] = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True)
        body = msgspec.defstruct(
            "Body",
            [
                ("dataframe_records", list[self.row] | None, None),  # type: ignore[name-defined]
                ("dataframe_split", Split | None, None),
                ("instances", list[Any] | None, None),
                ("inputs", Any, None),
                ("params", dict[str, Any] | None, None),
                ("id", str | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._body_type = body
        self._body: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._v2 = msgspec.json.Decoder(V2Request)

    def invocations(self, content: bytes) -> tuple[list[Any], str | None]:
        """MLflow's scoring body: exactly one of dataframe_records, dataframe_split, instances, inputs."""
        with reading(self._body_type):
            body = self._body.decode(content)
        forms = ("dataframe_records", "dataframe_split", "instances", "inputs")
        given = [name for name in forms if getattr(body, name) is not None]
        if len(given) != 1:
            raise Invalid(f"Send exactly one of {', '.join(forms)}; this request has {' and '.join(given) or 'none'}.")
        value = getattr(body, given[0])
        if given[0] == "dataframe_records":
            return self._bounded(value), body.id
        return self._split(value) if isinstance(value, Split) else self._instances(value), body.id

    def csv(self, content: bytes) -> list[Any]:
        """Rows of CSV text with a header; an empty field is null."""
        try:
            lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise Invalid(f"The body is not CSV text in UTF-8: {error}.") from error
        if not lines:
            raise Invalid("The body has no header line.")
        header, *body = lines
        _refuse_twins(header, "column")
        for number, line in enumerate(body, 2):
            if line and len(line) != len(header):
                raise Invalid(f"Line {number} has {len(line)} fields, the header has {len(header)}.")
        rows = [dict(zip(header, (field or None for field in line), strict=True)) for line in body if line]
        return self._records(rows, strict=False)

    def v2(self, content: bytes) -> tuple[list[Any], str | None]:
        """An Open Inference Protocol request with one tensor of shape [rows] or [rows, 1] per input column."""
        with reading(V2Request):
            request = self._v2.decode(content)
        if not request.inputs:
            raise Invalid("Field 'inputs': every tensor is missing. Send one for each of the model's inputs.")
        _refuse_twins([tensor.name for tensor in request.inputs], "input tensor")
        columns = {tensor.name: self._tensor(tensor) for tensor in request.inputs}
        return self._records(_rows_of(columns)), request.id

    def columns(self, rows: list[Any], inputs: list[Field] | None = None) -> dict[str, NDArray[Any]]:
        """Rows as a model's columns: float32 with NaN for null, objects with '' for null.

        ``inputs`` are those of the signature, or of one of the others. Raises Invalid when a row lacks one of them.
        """
        taken: dict[str, NDArray[Any]] = {}
        for field in self.signature.inputs if inputs is None else inputs:
            attribute = self._attributes[field.name]
            values = [getattr(row, attribute) for row in rows]
            if field.name in self._optional and msgspec.UNSET in values:
                raise Invalid(f"Field '{field.name}' is missing.")
            if field.kind == "text":
                taken[field.name] = np.array([value or "" for value in values], dtype=object)
            else:
                taken[field.name] = np.array(values, dtype=np.float32)
        return taken

    def _instances(self, value: Any) -> list[Any]:
        """Rows as objects, or as lists in the order of the inputs; or columns by name."""
        if isinstance(value, dict):
            for name, column in value.items():
                if not isinstance(column, list):
                    raise Invalid(f"Column '{name[:60]}' is not a list of values, one for each row.")
            value = _rows_of(value)
        if not isinstance(value, list):
            raise Invalid("Rows must be a list of objects, or of lists in the order of the model's inputs.")
        names = [field.name for field in self.signature.inputs]
        rows = [row if isinstance(row, dict) else dict(zip(names, self._row(row), strict=True)) for row in value]
        return self._records(rows)

    def _split(self, split: Split) -> list[Any]:
        _refuse_twins(split.columns, "column")
        for number, row in enumerate(split.data):
            if len(row) != len(split.columns):
                raise Invalid(f"Row {number} of 'data' has {len(row)} values; {len(split.columns)} values are wanted.")
        return self._records([dict(zip(split.columns, row, strict=True)) for row in split.data])

    def _row(self, row: Any) -> list[Any]:
        if not isinstance(row, list) or len(row) != len(self.signature.inputs):
            raise Invalid(f"Each row must be an object or a list of {len(self.signature.inputs)} values.")
        return row

    def _records(self, rows: list[dict[str, Any]], *, strict: bool = True) -> list[Any]:
        return list(from_plain(self._bounded(rows), list[self.row], strict=strict))  # type: ignore[name-defined]

    def _bounded(self, rows: list[Any]) -> list[Any]:
        if len(rows) > MAX_ROWS:
            raise TooLarge(f"The request has {len(rows)} rows; at most {MAX_ROWS} are taken. Send several requests.")
        return rows

    def _tensor(self, tensor: V2Input) -> list[Any]:
        names = list(self._attributes)
        if tensor.name not in names:
            raise Invalid(f"The model has no input '{tensor.name}'.{did_you_mean(tensor.name, names)}")
        if tensor.datatype not in _NUMBERS and tensor.datatype != "BYTES":
            raise Invalid(f"Input '{tensor.name}' has datatype '{tensor.datatype}', which is not known.")
        if not 1 <= len(tensor.shape) <= 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise Invalid(f"Input '{tensor.name}' has shape {str(tensor.shape)[:60]}; wanted is [rows] or [rows, 1].")
        values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tensor.data]
        if tensor.shape[0] != len(values):
            wanted = "wanted is [rows] or [rows, 1] with as many values"
            raise Invalid(f"Input '{tensor.name}' has shape {tensor.shape} and {len(values)} values; {wanted}.")
        return [float(value) if isinstance(value, bool) else value for value in values]


def _rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns of equal length as rows."""
    sizes = {len(values) for values in columns.values()}
    if len(sizes) > 1:
        raise Invalid(f"The columns have different numbers of rows: {sorted(sizes)}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _refuse_twins(names: list[str], what: str) -> None:
    twin = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twin is not None:
        raise Invalid(f"The {what} '{twin[:60]}' is there twice.")
