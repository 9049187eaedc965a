"""How much is taken on at once: a concurrency limit that finds itself, and rates by caller."""

import math
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from treadle.kernel.entity import Entity, from_plain
from treadle.kernel.errors import Busy, Invalid, NotFound, Unauthenticated

INITIAL_LIMIT, LARGEST_LIMIT = 256.0, 4096.0
WINDOW_SECONDS, WINDOW_SAMPLES, PATIENT_SECONDS = 0.1, 10, 1.0
CALM_SECONDS = 0.005  # waits below this are no overload, whatever they are a multiple of
_TOLERANCE, _SMOOTHING = 1.5, 0.2
_LONG_SECONDS = 600.0  # what the long run is averaged over


class ConcurrencyLimit:
    """Requests in hand at once, limited by the gradient of latency (Netflix's Gradient2), with 1 as the least.

    Each window compares its mean latency with the long run's: while it is at most 1.5 times as long the limit grows by a
    little, else it shrinks in proportion, to half at most. Netflix adds 4 to every limit, for servers that take hundreds at
    once; a model that takes one at a time would always have eight in hand, so half the limit's root is added here.
    """

    def __init__(
        self,
        *,
        smallest: float = 1.0,
        largest: float = LARGEST_LIMIT,
        initial: float = INITIAL_LIMIT,
    ) -> None:
        self.value = initial
        self._smallest, self._largest = smallest, largest
        self._long = 0.0
        self._sum, self._samples, self._most_in_hand, self._window_began, self._window_ends = (
            0.0,
            0,
            0,
            0.0,
            0.0,
        )

    def sample(self, seconds: float, in_hand: int, now: float) -> None:
        """Tell of a request that was answered after ``seconds`` when ``in_hand`` were, at the monotonic time ``now``."""
        self._sum += seconds
        self._samples += 1
        self._most_in_hand = max(self._most_in_hand, in_hand)
        enough = self._samples >= WINDOW_SAMPLES or now >= self._window_ends + PATIENT_SECONDS
        if now >= self._window_ends and enough:
            self._adapt(self._sum / self._samples, now - self._window_began)
            self._window_began = now
            self._sum, self._samples, self._most_in_hand, self._window_ends = (
                0.0,
                0,
                0,
                now + WINDOW_SECONDS,
            )

    def _adapt(self, short: float, seconds: float) -> None:
        weight = min(2 * seconds / _LONG_SECONDS, 0.1)
        told = (
            min(short, 2 * self._long) if self._long else short
        )  # a queue that was let grow is not what it usually takes
        self._long += (told - self._long) * (weight if self._long else 1.0)
        if (
            self._long > 2 * short
        ):  # after an overload the long run comes down faster than it went up
            self._long *= 0.95
        if (
            self._most_in_hand < self.value / 2
        ):  # the limit limits nobody: nothing is learnt about it
            return
        gradient = (
            max(0.5, min(1.0, _TOLERANCE * max(self._long, CALM_SECONDS) / short))
            if short > 0
            else 1.0
        )
        wanted = (1 - _SMOOTHING) * self.value + _SMOOTHING * (
            self.value * gradient + math.sqrt(self.value) / 2
        )
        self.value = max(self._smallest, min(self._largest, wanted))


class Caller(Entity):
    """Who may ask: a name, the SHA-256 of a token in hexadecimal, and how much: ``per_second`` on average, ``burst`` at once."""

    name: str
    sha256: str
    per_second: float = math.inf
    burst: float = 1.0


@dataclass
class _Rate:
    caller: Caller
    arrives: float = (
        -math.inf
    )  # when the last accepted request would have come at the caller's exact rate


class Callers:
    """Checks tokens and rates. A rate is kept by the generic cell rate algorithm: one number for each caller."""

    def __init__(self, callers: list[Caller]) -> None:
        for caller in callers:
            if len(caller.sha256) != 64 or set(caller.sha256) - set("0123456789abcdef"):
                raise Invalid(
                    f"Caller '{caller.name}': field 'sha256' is no SHA-256 in hexadecimal."
                )
            if not caller.per_second > 0 or not caller.burst >= 1:
                raise Invalid(
                    f"Caller '{caller.name}': 'per_second' must be above 0 and 'burst' at least 1."
                )
        self._rates = {bytes.fromhex(caller.sha256): _Rate(caller) for caller in callers}

    def admit(self, authorization: bytes | None, now: float, *, cost: float = 1.0) -> str:
        """The caller's name. Raises Unauthenticated, or Busy with the seconds after which the same request would pass."""
        scheme, _, token = (authorization or b"").partition(b" ")
        rate = (
            self._rates.get(sha256(token.strip()).digest()) if scheme.lower() == b"bearer" else None
        )
        if rate is None:
            raise Unauthenticated(
                "Send a token that this server knows: Authorization: Bearer TOKEN."
            )
        each = 1 / rate.caller.per_second
        arrives = max(rate.arrives, now) + cost * each
        late = arrives - now - max(rate.caller.burst, cost) * each
        if late > 1e-9:
            raise Limited(
                f"Caller '{rate.caller.name}' asks faster than its {rate.caller.per_second:g} a second.",
                late,
            )
        rate.arrives = arrives
        return rate.caller.name


class CallersFile(Entity):
    """What a file of callers holds."""

    caller: list[Caller]


def read_callers(file: Path) -> Callers:
    """Callers of a TOML file with a table ``[[caller]]`` for each."""
    try:
        told = tomllib.loads(file.read_text())
    except FileNotFoundError as error:
        raise NotFound(f"There is no file '{file}'.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"'{file}' is no TOML: {error}") from error
    return Callers(from_plain(told, CallersFile).caller)


class Limited(Busy):
    """A caller's rate is reached; ``after_seconds`` from now the same request passes."""

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds
