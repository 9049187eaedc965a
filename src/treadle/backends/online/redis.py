"""Implements the online store with Redis: one hash for the rows of each view."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Unavailable
from treadle.ports.online_store import OnlineRow, StoredView, Watermark, watermark_in

ROWS_AT_ONCE = 1000
_HEAD_DIGITS = 32
_OFFSET = 1 << 63
_NAMES = "treadle:features:views"
_WRITE = """
local newest = redis.call('HGET', KEYS[2], 'newest') or ''
for i = 1, #ARGV, 2 do
    local stored = redis.call('HGET', KEYS[1], ARGV[i])
    local head = string.sub(ARGV[i + 1], 1, 32)
    if not stored or head >= string.sub(stored, 1, 32) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
    local event_time = string.sub(head, 1, 16)
    if event_time > newest then newest = event_time end
end
redis.call('HSET', KEYS[2], 'newest', newest)
"""
"""Stores rows where they are not older than what is there. A value begins with event time and
arrival, 16 hexadecimal digits each, so that it is compared as text."""


class RedisOnlineStore:
    """Features in Redis. Each row is written by itself, and the watermark after the last one.

    Args:
        url: ``redis://HOST:PORT/NUMBER``, or ``rediss:`` for TLS.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._redis: Any = Redis.from_url(url)
        self._write = self._redis.register_script(_WRITE)

    def write(
        self, view: str, rows: Iterable[OnlineRow], watermark: Watermark | None = None
    ) -> None:
        """Store rows, and then how far the view has been materialised.

        Args:
            view: Name of the view.
            rows: The rows, in any order.
            watermark: The new watermark; None leaves the stored one as it is.

        Raises:
            Unavailable: The server does not answer.
        """
        with self._translated():
            self._redis.sadd(_NAMES, view)
            left = iter(rows)
            while some := list(islice(left, ROWS_AT_ONCE)):
                arguments = [part for row in some for part in (row.key, _packed(row))]
                self._write(keys=[_rows(view), _state(view)], args=arguments)
            if watermark is not None:
                self._redis.hset(_state(view), "watermark", to_json(watermark))

    def read(
        self, view: str, keys: Sequence[str], not_before: int | None = None
    ) -> list[OnlineRow | None]:
        """Read the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; one may come twice.
            not_before: Event time of the oldest row that still counts, in microseconds since 1970;
                None for any.

        Returns:
            One entry for each key, in their order.

        Raises:
            Unavailable: The server does not answer.
        """
        if not keys:
            return []
        with self._translated():
            values = self._redis.hmget(_rows(view), keys)
        found = [
            None if value is None else _row(key, value)
            for key, value in zip(keys, values, strict=True)
        ]
        if not_before is None:
            return found
        return [row if row and row.event_time >= not_before else None for row in found]

    def delete(self, view: str, keys: Sequence[str]) -> int:
        """Erase the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; those that are not stored are passed over.

        Returns:
            The number of rows that were erased.

        Raises:
            Unavailable: The server does not answer.
        """
        with self._translated():
            return int(self._redis.hdel(_rows(view), *keys)) if keys else 0

    def rows(self, view: str) -> Iterator[OnlineRow]:
        """Yield all rows of a view.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The server does not answer.
        """
        cursor = 0
        while True:
            with self._translated():
                cursor, found = self._redis.hscan(_rows(view), cursor, count=ROWS_AT_ONCE)
            yield from (_row(key.decode(), value) for key, value in found.items())
            if not cursor:
                return

    def drop(self, view: str) -> None:
        """Erase a view's rows and its watermark; it may repeat.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The server does not answer.
        """
        with self._translated():
            self._redis.delete(_rows(view), _state(view))
            self._redis.srem(_NAMES, view)

    def stored(self) -> list[StoredView]:
        """What is stored, by the views' names.

        Raises:
            Unavailable: The server does not answer.
        """
        with self._translated():
            names = sorted(name.decode() for name in self._redis.smembers(_NAMES))
        found = [self.of(name) for name in names]
        return [one for one in found if one.rows or one.watermark]

    def of(self, view: str) -> StoredView:
        """What is stored of one view.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The server does not answer.
        """
        with self._translated():
            rows = int(self._redis.hlen(_rows(view)))
            newest, watermark = self._redis.hmget(_state(view), ["newest", "watermark"])
        return StoredView(
            view=view,
            rows=rows,
            newest=_number(newest) if newest else None,
            watermark=watermark_in(watermark),
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise Unavailable(f"The online store in Redis does not answer: {error}.") from error


def _rows(view: str) -> str:
    return f"treadle:features:rows:{view}"


def _state(view: str) -> str:
    return f"treadle:features:state:{view}"


def _packed(row: OnlineRow) -> bytes:
    head = f"{row.event_time + _OFFSET:016x}{row.arrived + _OFFSET:016x}"
    return head.encode() + row.packed


def _row(key: str, value: bytes) -> OnlineRow:
    return OnlineRow(key, _number(value[:16]), _number(value[16:32]), value[_HEAD_DIGITS:])


def _number(digits: bytes) -> int:
    return int(digits, 16) - _OFFSET
