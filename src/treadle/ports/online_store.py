"""The port to where features are kept for online reads: the newest row of each key."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from treadle.kernel.entity import Entity, from_json
from treadle.kernel.errors import Invalid
from treadle.kernel.plugins import factory_of

GROUP = "online_store"
"""The name of the port; backends are the entry points of ``treadle.online_store``."""


class OnlineRow(NamedTuple):
    """The newest features of one key of a view.

    Attributes:
        key: The key as text (see ``treadle.features.keys``).
        event_time: Time of the event that the features tell of, in microseconds since 1970.
        arrived: When the row arrived, in microseconds since 1970.
        packed: The features, packed by the caller; the store does not look into them.
    """

    key: str
    event_time: int
    arrived: int
    packed: bytes


class Watermark(Entity):
    """How far a view has been materialised.

    Attributes:
        known_at: All facts that were known before this moment are in the store, in microseconds
            since 1970.
        definition: Digest of the view's definition by which they were computed.
        features: The features that the rows hold, with what they are: ``number``, ``moment`` or
            ``other``.
    """

    known_at: int
    definition: str
    features: dict[str, Literal["number", "moment", "other"]]


def watermark_in(text: str | bytes | None) -> Watermark | None:
    """Read a watermark as a store has it.

    Args:
        text: JSON; None where there is none.

    Returns:
        The watermark; None also for one of another version of Treadle, so that all is read anew.
    """
    if not text:
        return None
    try:
        return from_json(text, Watermark)
    except Invalid:
        return None


class StoredView(Entity):
    """What a store holds of one view.

    Attributes:
        view: Name of the view.
        rows: Number of keys with features.
        newest: Event time of the newest row that was ever written, in microseconds since 1970; None
            where none was.
        watermark: How far it has been materialised, or None.
    """

    view: str
    rows: int
    newest: int | None
    watermark: Watermark | None


class OnlineStore(Protocol):
    """Keeps one row for each view and key, for reads within a fraction of a millisecond.

    - ``write`` may repeat and may come in any order: of one key the row with the greatest
      ``(event_time, arrived)`` stays; of equal ones the last that was written.
    - Each row is replaced as a whole: a reader sees the row before or the row after. The watermark
      is stored after all rows, so a write that was interrupted is repeated with the same result.
    - All methods may be called from several threads, and several processes may use one store.
    - Nothing expires by itself: ``read`` leaves out what is older than its caller wants.

    Attributes:
        url: Where the store is.
    """

    url: str

    def write(
        self, view: str, rows: Iterable[OnlineRow], watermark: Watermark | None = None
    ) -> None:
        """Store rows, and then how far the view has been materialised.

        Args:
            view: Name of the view.
            rows: The rows, in any order.
            watermark: The new watermark; None leaves the stored one as it is.

        Raises:
            Unavailable: The store does not answer.
        """

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
            One entry for each key, in their order: the row, or None where there is none that
            counts.

        Raises:
            Unavailable: The store does not answer.
        """

    def delete(self, view: str, keys: Sequence[str]) -> int:
        """Erase the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; those that are not stored are passed over.

        Returns:
            The number of rows that were erased.

        Raises:
            Unavailable: The store does not answer.
        """

    def drop(self, view: str) -> None:
        """Erase a view's rows and its watermark; it may repeat.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The store does not answer.
        """

    def stored(self) -> list[StoredView]:
        """What is stored, by the views' names.

        Raises:
            Unavailable: The store does not answer.
        """

    def of(self, view: str) -> StoredView:
        """What is stored of one view.

        Args:
            view: Name of the view; one that was never written has no rows and no watermark.

        Raises:
            Unavailable: The store does not answer.
        """

    def close(self) -> None:
        """Release what the store holds open."""


@runtime_checkable
class ReadThrough(Protocol):
    """An online store all of whose rows can be read, so that a person is found; optional."""

    def rows(self, view: str) -> Iterator[OnlineRow]:
        """Yield all rows of a view, in any order; what is written meanwhile may be among them.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The store does not answer.
        """

    def delete(self, view: str, keys: Sequence[str]) -> int:
        """Erase the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; those that are not stored are passed over.
        """


class OpenOnlineStore(Protocol):
    """Gives the online store of a home, which the first call opens."""

    def __call__(self) -> OnlineStore:
        """Give the store."""


def open_store(url: str) -> OnlineStore:
    """Open the online store that a URL names.

    Args:
        url: ``sqlite:///PATH``, ``redis://HOST:PORT/NUMBER``, or a URL of another package's
            backend.

    Returns:
        The store; whoever opened it closes it.

    Raises:
        Invalid: No backend handles the URL.
    """
    store: OnlineStore = factory_of(GROUP, url)(url)
    return store
