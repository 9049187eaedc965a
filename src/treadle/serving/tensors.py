"""Tensors of the Open Inference Protocol: what a request declares, and the rows that they hold."""

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Signature
from treadle.serving.row_reader import RowReader
from treadle.serving.rows import Rows

MATRIX = "numbers"  # the one input of a model that takes numbers only
KINDS: dict[str, str] = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1",
    "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


class Tensor(msgspec.Struct):
    """A tensor, as a request declares it."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


def describe(signature: Signature) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the tensors that a model takes, and those that it gives.

    Args:
        signature: The model's inputs and output.
    """
    types = {"number": "FP32", "text": "BYTES"}
    inputs: list[dict[str, Any]] = [
        {"name": field.name, "datatype": types[field.kind], "shape": [-1]}
        for field in signature.inputs
    ]
    if len(inputs) > 1 and all(field.kind == "number" for field in signature.inputs):
        names = [field.name for field in signature.inputs]
        inputs = [
            {
                "name": MATRIX,
                "datatype": "FP32",
                "shape": [-1, len(names)],
                "parameters": {"columns": names},
            }
        ]
    width = [len(signature.classes)] if signature.output in ("probabilities", "values") else []
    return inputs, [{"name": signature.output, "datatype": "FP32", "shape": [-1, *width]}]


def check_declared(tensor: Tensor) -> None:
    """Check what a tensor says of itself.

    Args:
        tensor: The tensor.

    Raises:
        Invalid: Its datatype is not known, or no tensor can have its shape.
    """
    name = tensor.name[:60]
    if tensor.datatype not in KINDS and tensor.datatype != "BYTES":
        raise Invalid(f"Input '{name}' has datatype '{tensor.datatype[:60]}', which is not known.")
    if not tensor.shape or any(size < 0 for size in tensor.shape):
        raise Invalid(
            f"Input '{name}' has shape {str(tensor.shape)[:60]}, which no tensor can have."
        )


def check_output(name: str, signature: Signature) -> None:
    """Check that an output that a request asks for is the model's.

    Args:
        name: The output's name.
        signature: The model's inputs and output.

    Raises:
        Invalid: The model has no such output.
    """
    if name != signature.output:
        raise Invalid(f"The model has no output '{name[:60]}'. Its output is '{signature.output}'.")


def rows_of(reader: RowReader, tensors: list[Tensor], arrays: list[NDArray[Any]]) -> Rows:
    """Return the rows that tensors hold: a matrix of all inputs, or a column for each.

    Args:
        reader: Reads rows for the model's signature.
        tensors: The tensors.
        arrays: Their values, flat.

    Raises:
        Invalid: The tensors do not fit the model.
    """
    wide = len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].shape[1] != 1
    if wide and arrays[0].dtype.kind != "O":
        return reader.matrix(arrays[0].reshape(tensors[0].shape))
    columns = {}
    for tensor, array in zip(tensors, arrays, strict=True):
        shape = tensor.shape
        if not 1 <= len(shape) <= 2 or (len(shape) == 2 and shape[1] != 1):
            raise Invalid(
                f"Input '{tensor.name[:60]}' has shape {str(shape)[:60]}; "
                "wanted is [rows] or [rows, 1] for one column."
            )
        columns[tensor.name] = array
    return reader.columns(columns)


def from_bytes(tensor: Tensor, raw: memoryview) -> NDArray[Any]:
    """Read a tensor's values from raw bytes: little-endian numbers, or texts behind their lengths.

    Args:
        tensor: The tensor.
        raw: The bytes.

    Returns:
        The values, flat: float32, float64, or objects for texts.

    Raises:
        Invalid: The bytes do not fit what the tensor declares.
    """
    name = tensor.name[:60]
    if tensor.datatype == "BYTES":
        values = _texts(name, raw)
        check_count(tensor, len(values))
        return np.array(values, dtype=object)
    kind = np.dtype(KINDS[tensor.datatype])
    if len(raw) % kind.itemsize:
        raise Invalid(
            f"Input '{name}' has {len(raw)} bytes, "
            f"which is no whole number of {tensor.datatype} values."
        )
    array = np.frombuffer(raw, dtype=kind)
    check_count(tensor, len(array))
    refuse_infinite(name, array)
    return array if kind in (np.float32, np.float64) else array.astype(np.float64)


def refuse_infinite(name: str, array: NDArray[Any]) -> None:
    """Refuse infinities; NaN is a missing number, which a model may take.

    Args:
        name: The tensor's name, for the error.
        array: Its values.

    Raises:
        Invalid: There is an infinity.
    """
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise Invalid(f"Input '{name}' holds an infinity. Send NaN for what is missing.")


def _texts(name: str, raw: memoryview) -> list[str]:
    """The texts of a BYTES tensor, each behind its length in 4 bytes."""
    values = []
    position = 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise Invalid(f"Input '{name}' ends inside the length of a text.")
        (size,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + size > len(raw):
            raise Invalid(f"Input '{name}' ends inside a text of {size} bytes.")
        try:
            values.append(str(raw[position : position + size], "utf-8"))
        except UnicodeDecodeError as error:
            raise Invalid(f"Input '{name}' holds bytes that are no text in UTF-8.") from error
        position += size
    return values


def check_count(tensor: Tensor, count: int) -> None:
    """Check that a tensor's shape has as many values as there are.

    Args:
        tensor: The tensor.
        count: How many values there are.

    Raises:
        Invalid: The shape has another number of values.
    """
    declared = 1
    for size in tensor.shape:
        declared *= size
    if declared != count:
        raise Invalid(
            f"Input '{tensor.name[:60]}' has shape {str(tensor.shape)[:60]} and {count} values; "
            "wanted is [rows] or [rows, 1] with as many values."
        )
