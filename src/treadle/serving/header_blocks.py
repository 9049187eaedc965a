"""Reads and writes HTTP/2's compressed headers (RFC 7541); what is written is never compressed."""

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from treadle.serving.request_reader import HeaderList

MAX_BLOCK_BYTES = 16 << 10
FIRST = b"\x20"  # our table has no room, so the client's limits to it never matter
_MOST_KNOWN = 64


class BadBlock(Exception):
    """A header block cannot be read, so the connection's table is lost and it must end."""


class _Table(HeaderTable):
    """Counts its changes."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeaderReader:
    """Reads the header blocks of one connection, in order.

    Clients send the same few bytes for each request once their headers are in the table, so a
    block is read once for as long as the table stays as it is.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_BLOCK_BYTES)
        self._decoder.header_table = self._table = _Table()
        self._known: dict[bytes, HeaderList] = {}

    def read(self, block: bytes) -> HeaderList:
        """Read a block.

        Args:
            block: The block, whole.

        Raises:
            BadBlock: It is malformed, or its headers are larger than `MAX_BLOCK_BYTES`.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        changes = self._table.changes
        try:
            headers = [(bytes(name), bytes(value)) for name, value, *_ in self._decode(block)]
        except HPACKError as error:
            raise BadBlock(str(error)) from error
        resized = block[:1] and block[0] & 0xE0 == 0x20
        if resized or changes != self._table.changes or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        if not resized and changes == self._table.changes:
            self._known[block] = headers
        return headers

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        return list(self._decoder.decode(block, raw=True))


def literal(name: bytes, value: bytes) -> bytes:
    """Write a header as it is.

    Args:
        name: Its name in lower case.
        value: Its value.
    """
    return b"\x00" + _size(name) + name + _size(value) + value


def _size(value: bytes) -> bytes:
    """A length in front of which no Huffman code is announced: 7 bits, then 7 more in each byte."""
    size = len(value)
    if size < 0x7F:
        return bytes([size])
    written = bytearray([0x7F])
    size -= 0x7F
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)
