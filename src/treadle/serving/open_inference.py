"""Reads and writes the Open Inference Protocol V2: tensors as JSON, or as raw bytes after it."""

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import reading
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Signature
from treadle.serving.row_reader import RowReader, refuse_twins
from treadle.serving.rows import Rows
from treadle.serving.tensors import (
    Tensor,
    check_count,
    check_declared,
    check_output,
    from_bytes,
    refuse_infinite,
    rows_of,
)

LENGTH_HEADER = b"inference-header-content-length"


class Wanted(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


class Asked(NamedTuple):
    """A request that was read.

    Attributes:
        rows: The rows.
        id: The request's id, or None.
        binary: Whether the answer is wanted as bytes.
    """

    rows: Rows
    id: str | None
    binary: bool


_request = msgspec.json.Decoder(Request)
_encode = msgspec.json.Encoder().encode


def read(reader: RowReader, content: bytes, header: bytes | None) -> Asked:
    """Read a request.

    Source: github.com/kserve/open-inference-protocol, and its extension for binary tensor data.

    Args:
        reader: Reads rows for the model's signature.
        content: The request's body.
        header: The value of the header `Inference-Header-Content-Length`, or None.

    Raises:
        Invalid: The request does not fit the protocol or the model.
    """
    if header is None:
        text, raw = content, memoryview(b"")
    else:
        length = _length(header, len(content))
        if length == 0:
            return Asked(reader.matrix(_bare(reader, content)), None, True)
        text, raw = content[:length], memoryview(content)[length:]
    with reading(Request):
        request = _request.decode(text)
    if not request.inputs:
        raise Invalid(
            "Field 'inputs': every tensor is missing. Send one for each of the model's inputs."
        )
    refuse_twins([tensor.name for tensor in request.inputs], "input tensor")
    arrays: list[NDArray[Any]] = []
    for tensor in request.inputs:
        array, raw = _array(tensor, raw)
        arrays.append(array)
    if len(raw):
        raise Invalid(f"{len(raw)} bytes follow the last tensor that the request declares.")
    rows = rows_of(reader, request.inputs, arrays)
    return Asked(rows, request.id, _wants_bytes(request, reader.signature))


def answer(
    model: str,
    version: str,
    id: str,
    signature: Signature,
    values: NDArray[np.float32],
    *,
    binary: bool,
) -> tuple[bytes, int | None]:
    """Write an answer.

    Args:
        model: The model's name.
        version: The version that answers.
        id: The request's id.
        signature: The model's inputs and output.
        values: The outputs, float32 (rows,) or (rows, classes).
        binary: Whether the outputs are written as bytes after the JSON.

    Returns:
        The body, and the length of its JSON where bytes follow, else None.
    """
    tensor: dict[str, Any] = {
        "name": signature.output,
        "shape": list(values.shape),
        "datatype": "FP32",
    }
    content = {"model_name": model, "model_version": version, "id": id, "outputs": [tensor]}
    if binary:
        raw = values.tobytes()
        tensor["parameters"] = {"binary_data_size": len(raw)}
        text = _encode(content)
        return text + raw, len(text)
    tensor["data"] = values.reshape(-1).tolist()
    return _encode(content), None


def _array(tensor: Tensor, raw: memoryview) -> tuple[NDArray[Any], memoryview]:
    """A tensor's values, flat, and the bytes that follow it."""
    name = tensor.name[:60]
    check_declared(tensor)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return _from_json(tensor, name), raw
    if tensor.data is not None:
        raise Invalid(f"Input '{name}' has both 'data' and 'binary_data_size'; send one of them.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
        raise Invalid(
            f"Input '{name}' has binary_data_size {str(size)[:30]}, and {len(raw)} bytes are left."
        )
    return from_bytes(tensor, raw[:size]), raw[size:]


def _from_json(tensor: Tensor, name: str) -> NDArray[Any]:
    values: list[Any] = tensor.data or []
    while values and isinstance(values[0], list):
        if not all(isinstance(value, list) for value in values):
            raise Invalid(f"Input '{name}': field 'data' is nested unevenly.")
        values = [value for inner in values for value in inner]
    check_count(tensor, len(values))
    kinds = set(map(type, values)) - {type(None)}
    if tensor.datatype == "BYTES":
        if kinds - {str}:
            raise Invalid(f"Input '{name}' is declared as BYTES, and holds what is no text.")
        return np.array(values, dtype=object)
    if kinds - {int, float, bool}:
        raise Invalid(
            f"Input '{name}' is declared as {tensor.datatype}, and holds what is no number."
        )
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise Invalid(f"Input '{name}' holds a number that is too large.") from error


def _bare(reader: RowReader, content: bytes) -> NDArray[Any]:
    """A body that is one raw tensor of FP32."""
    width = len(reader.required)
    if not width or len(content) % (4 * width):
        raise Invalid(
            f"The body has {len(content)} bytes; wanted are rows of {width} FP32 values of 4 bytes."
        )
    array = np.frombuffer(content, dtype="<f4")
    refuse_infinite("body", array)
    return array.reshape(-1, width)


def _length(header: bytes, size: int) -> int:
    if not header.isdigit() or len(header) > 12 or int(header) > size:
        raise Invalid(
            f"The header Inference-Header-Content-Length is no number of the body's {size} bytes."
        )
    return int(header)


def _wants_bytes(request: Request, signature: Signature) -> bool:
    for output in request.outputs or ():
        check_output(output.name, signature)
        if "binary_data" in output.parameters:
            return output.parameters["binary_data"] is True
    return request.parameters.get("binary_data_output") is True
