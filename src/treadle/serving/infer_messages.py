"""Reads and writes the messages of predictions by gRPC; `open_inference.proto` declares them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Signature
from treadle.serving import protobuf
from treadle.serving.protobuf import bytes_field, text_field, varint
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

_CONTENTS = {
    1: "bool_contents", 2: "int_contents", 3: "int64_contents", 4: "uint_contents",
    5: "uint64_contents", 6: "fp32_contents", 7: "fp64_contents", 8: "bytes_contents",
}  # fmt: skip
_FIELD_OF = {
    "BOOL": 1, "INT8": 2, "INT16": 2, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT16": 4, "UINT32": 4,
    "UINT64": 5, "FP32": 6, "FP64": 7, "BYTES": 8,
}  # fmt: skip
_BITS = {1: np.bool_, 2: np.int32, 3: np.int64, 4: np.uint32, 5: np.uint64}
_FLOATS: dict[int, str] = {6: "<f4", 7: "<f8"}
_DATATYPE = text_field(2, "FP32")


class Input(NamedTuple):
    """A tensor of a request, and its values where they stand in the tensor itself.

    Attributes:
        tensor: What it declares.
        contents: An `InferTensorContents`; empty where the values are raw.
    """

    tensor: Tensor
    contents: bytes


class InferRequest(NamedTuple):
    """A request for a prediction, before its rows are read.

    Attributes:
        model: The model's name.
        version: The version that is asked for; empty for any.
        id: The request's id; empty where it has none.
        inputs: The tensors.
        outputs: The names of the outputs that are asked for.
        raw: The values of all tensors as raw bytes, one for each; empty where they are typed.
    """

    model: str
    version: str
    id: str
    inputs: list[Input]
    outputs: list[str]
    raw: list[bytes]


def read_request(content: bytes) -> InferRequest:
    """Read a request. Parameters are taken and not used, as over HTTP.

    Args:
        content: A `ModelInferRequest`.

    Raises:
        Invalid: The bytes are no such message.
    """
    names = {1: "", 2: "", 3: ""}
    inputs: list[Input] = []
    outputs: list[str] = []
    raw: list[bytes] = []
    for field, _, value in protobuf.fields(content):
        if field <= 3:
            names[field] = protobuf.text(value, _NAMES[field])
        elif field == 5:
            inputs.append(_input(protobuf.message(value, "inputs")))
        elif field == 6:
            outputs.append(_name(protobuf.message(value, "outputs")))
        elif field == 7:
            raw.append(protobuf.message(value, "raw_input_contents"))
    return InferRequest(names[1], names[2], names[3], inputs, outputs, raw)


def read_rows(reader: RowReader, request: InferRequest) -> Rows:
    """Read a request's rows.

    Args:
        reader: Reads rows for the model's signature.
        request: The request.

    Raises:
        Invalid: The tensors do not fit the protocol or the model.
    """
    if not request.inputs:
        raise Invalid(
            "Field 'inputs': every tensor is missing. Send one for each of the model's inputs."
        )
    if len(request.inputs) > len(reader.fields) + 100:
        raise Invalid(
            f"{len(request.inputs)} inputs were sent; the model takes {len(reader.fields)}."
        )
    tensors = [given.tensor for given in request.inputs]
    if len(tensors) > 1:
        refuse_twins([tensor.name for tensor in tensors], "input tensor")
    for name in request.outputs:
        check_output(name, reader.signature)
    return rows_of(reader, tensors, _arrays(request))


def write_answer(
    model: str, version: str, id: str, signature: Signature, values: NDArray[Any], *, raw: bool
) -> bytes:
    """Write a `ModelInferResponse`.

    Args:
        model: The model's name.
        version: The version that answers.
        id: The request's id.
        signature: The model's inputs and output.
        values: The outputs, float32 (rows,) or (rows, classes).
        raw: Whether the outputs are written as raw bytes.
    """
    shape = bytes_field(3, b"".join(map(varint, values.shape)))
    tensor = text_field(1, signature.output) + _DATATYPE + shape
    head = text_field(1, model) + text_field(2, version) + text_field(3, id)
    content = values.astype("<f4", copy=False).tobytes()
    if raw:
        return head + bytes_field(5, tensor) + bytes_field(6, content)
    return head + bytes_field(5, tensor + bytes_field(5, bytes_field(6, content)))


_NAMES = {1: "model_name", 2: "model_version", 3: "id"}


def _input(content: bytes) -> Input:
    name = datatype = ""
    shape: list[int] = []
    contents = b""
    for field, kind, value in protobuf.fields(content):
        if field == 1:
            name = protobuf.text(value, "name")
        elif field == 2:
            datatype = protobuf.text(value, "datatype")
        elif field == 3:
            shape += _sizes(kind, value)
        elif field == 5:
            contents += protobuf.message(value, "contents")
    return Input(Tensor(name, shape, datatype), contents)


def _sizes(kind: int, value: protobuf.Value) -> list[int]:
    if kind == protobuf.BYTES and isinstance(value, bytes) and max(value, default=0) < 0x80:
        return list(value)  # packed, and all of one byte, as most shapes are
    return [int(size) for size in protobuf.varints(value).view(np.int64)]


def _name(content: bytes) -> str:
    """An output's name: its first field."""
    for field, _, value in protobuf.fields(content):
        if field == 1:
            return protobuf.text(value, "name")
    return ""


def _arrays(request: InferRequest) -> list[NDArray[Any]]:
    """The tensors' values, flat."""
    for given in request.inputs:
        check_declared(given.tensor)
    if not request.raw:
        return [_typed(given) for given in request.inputs]
    if len(request.raw) != len(request.inputs):
        raise Invalid(
            f"{len(request.raw)} raw_input_contents for {len(request.inputs)} inputs; "
            "wanted is one for each."
        )
    for given in request.inputs:
        if given.contents:
            raise Invalid(
                f"Input '{given.tensor.name[:60]}' has contents beside raw_input_contents; "
                "send one of them."
            )
    return [
        from_bytes(given.tensor, memoryview(raw))
        for given, raw in zip(request.inputs, request.raw, strict=True)
    ]


def _typed(given: Input) -> NDArray[Any]:
    """The values of a tensor that stand in the field of its datatype."""
    tensor, pieces = given.tensor, protobuf.fields(given.contents)
    name, wanted = tensor.name[:60], _FIELD_OF.get(tensor.datatype)
    if wanted is None:
        raise Invalid(f"Input '{name}' is {tensor.datatype}: send it in raw_input_contents.")
    for field, _, _ in pieces:
        if field != wanted:
            raise Invalid(
                f"Input '{name}' is declared as {tensor.datatype}, and its values are in "
                f"{_CONTENTS.get(field, 'an unknown field')}; wanted is {_CONTENTS[wanted]}."
            )
    values = _values(wanted, name, [value for _, _, value in pieces])
    check_count(tensor, len(values))
    refuse_infinite(name, values)
    if values.dtype == object or values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float64)


def _values(field: int, name: str, pieces: list[protobuf.Value]) -> NDArray[Any]:
    if field == 8:
        return np.array([protobuf.text(piece, name) for piece in pieces], dtype=object)
    if field in _FLOATS:
        content = b"".join(protobuf.message(piece, name) for piece in pieces)
        kind = np.dtype(_FLOATS[field])
        if len(content) % kind.itemsize:
            raise Invalid(f"Input '{name}' has {len(content)} bytes of {_CONTENTS[field]}.")
        return np.frombuffer(content, dtype=kind)
    numbers = [protobuf.varints(piece) for piece in pieces]
    return np.concatenate(numbers or [np.empty(0, np.uint64)]).astype(_BITS[field])
