"""Reads and writes protocol buffers by their wire format, without generated classes.

Source: protobuf.dev/programming-guides/encoding. A message is read as its fields in order.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_VARINT_BYTES = 10
MOST_FIELDS = 20_000  # of one message: as many texts as a request may have rows, and some more
_FIXED = {FIXED64: 8, FIXED32: 4}

Value = int | bytes
FieldOf = tuple[int, int, Value]
"""A field's number, its wire type, and its value: an int for VARINT, else the bytes."""


def fields(content: bytes) -> list[FieldOf]:
    """Read a message's fields, in order; a repeated field is there once for each value.

    Args:
        content: The message.

    Raises:
        Invalid: The bytes are no message, or one of more than `MOST_FIELDS` fields.
    """
    found: list[FieldOf] = []
    position, size = 0, len(content)
    while position < size:
        tag = content[position]
        position += 1
        if tag > 0x7F:
            tag, position = _varint(content, position - 1)
        kind = tag & 7
        if kind == BYTES:
            if position < size and content[position] <= 0x7F:
                length = content[position]
                position += 1
            else:
                length, position = _varint(content, position)
        elif kind == VARINT:
            number, position = _varint(content, position)
            if tag < 8 or len(found) >= MOST_FIELDS:
                raise _broken(position, len(found))
            found.append((tag >> 3, kind, number))
            continue
        else:
            length = _FIXED.get(kind, -1)
        end = position + length
        if length < 0 or end > size or tag < 8 or len(found) >= MOST_FIELDS:
            raise _broken(position, len(found))
        found.append((tag >> 3, kind, content[position:end]))
        position = end
    return found


def text(value: Value, name: str) -> str:
    """Read a text.

    Args:
        value: The field's value.
        name: The field's name, for errors.

    Raises:
        Invalid: The value is no text in UTF-8.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise Invalid(f"Field '{name}' is no text in UTF-8.")


def message(value: Value, name: str) -> bytes:
    """Read what stands behind a length: a message, bytes, or packed numbers.

    Args:
        value: The field's value.
        name: The field's name, for errors.

    Raises:
        Invalid: The value is a single number.
    """
    if isinstance(value, bytes):
        return value
    raise Invalid(f"Field '{name}' holds a number where a message is wanted.")


def varints(value: Value) -> NDArray[np.uint64]:
    """Read repeated whole numbers: packed, or one.

    Args:
        value: The field's value.

    Returns:
        The numbers (values,); negative ones as two's complement of 64 bits.

    Raises:
        Invalid: A packed number is cut off or longer than 10 bytes.
    """
    if isinstance(value, int):
        return np.array([value], dtype=np.uint64)
    data = np.frombuffer(value, dtype=np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if not len(data):
        return np.empty(0, dtype=np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not len(ends) or ends[-1] != len(data) - 1:
        raise Invalid("The message is no protocol buffer: a packed number is cut off.")
    sizes = ends - starts + 1
    if sizes.max() > MOST_VARINT_BYTES:
        raise Invalid("The message is no protocol buffer: a number has more than 10 bytes.")
    shifts = ((np.arange(len(data)) - np.repeat(starts, sizes)) * 7).astype(np.uint64)
    bits = (data & 0x7F).astype(np.uint64) << shifts
    return np.asarray(np.bitwise_or.reduceat(bits, starts), dtype=np.uint64)


def varint(number: int) -> bytes:
    """Write a whole number.

    Args:
        number: From -2**63 to 2**64 - 1.
    """
    number &= 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def number_field(field: int, number: int) -> bytes:
    """Write a field that is a whole number or a bool; nothing for 0, which is the default.

    Args:
        field: The field's number.
        number: The number.
    """
    return varint(field << 3) + varint(number) if number else b""


def bytes_field(field: int, value: bytes) -> bytes:
    """Write a field that is bytes, a message, or packed numbers; it is there if it is empty too.

    Args:
        field: The field's number.
        value: The bytes.
    """
    return varint(field << 3 | BYTES) + varint(len(value)) + value


def text_field(field: int, value: str) -> bytes:
    """Write a field that is a text; nothing for an empty one, which is the default.

    Args:
        field: The field's number.
        value: The text.
    """
    return bytes_field(field, value.encode()) if value else b""


def texts_field(field: int, values: Iterable[str]) -> bytes:
    """Write a field of several texts.

    Args:
        field: The field's number.
        values: The texts.
    """
    return b"".join(bytes_field(field, value.encode()) for value in values)


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it."""
    number = shift = 0
    for byte in content[position : position + MOST_VARINT_BYTES]:
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise _broken(position, 0)


def _broken(position: int, found: int) -> Invalid:
    if found >= MOST_FIELDS:
        return Invalid(f"A message has more than {MOST_FIELDS} fields. Send several requests.")
    return Invalid(f"The message is no protocol buffer: it breaks at byte {position}.")
