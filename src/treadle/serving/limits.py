"""Limits load: a concurrency limit that adapts to latency, and rates by caller."""

import math
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from treadle.kernel.entity import Entity, from_plain
from treadle.kernel.errors import Busy, Invalid, NotFound, Unauthenticated

INITIAL_LIMIT, LARGEST_LIMIT = 256.0, 4096.0
WINDOW_SECONDS, WINDOW_SAMPLES, PATIENT_SECONDS = 0.1, 10, 1.0
CALM_SECONDS = 0.005  # waits below this are no overload, whatever the usual wait is
_TOLERANCE, _SMOOTHING = 1.5, 0.2
_LONG_SECONDS = 600.0  # the long-run mean is taken over this time


class ConcurrencyLimit:
    """Limits the requests in hand by the gradient of latency (Netflix's Gradient2).

    Each window compares its mean latency with the long run's: while it is at most 1.5 times as
    long the limit grows a little, else it shrinks in proportion, to half at most. Netflix adds 4 to
    every limit, for servers that take hundreds at once; a model that takes one request at a time
    would then always have eight in hand, so half the limit's root is added here.

    Args:
        smallest: The smallest limit, in requests.
        largest: The largest limit, in requests.
        initial: The limit before anything was measured.

    Attributes:
        value: The limit now, in requests.
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
        self._sum = 0.0
        self._samples = 0
        self._most_in_hand = 0
        self._window_began = 0.0
        self._window_ends = 0.0

    def sample(self, seconds: float, in_hand: int, now: float) -> None:
        """Take a request that was answered into account.

        Args:
            seconds: How long its answer took.
            in_hand: How many requests were in hand then.
            now: The monotonic time, in seconds.
        """
        self._sum += seconds
        self._samples += 1
        self._most_in_hand = max(self._most_in_hand, in_hand)
        enough = self._samples >= WINDOW_SAMPLES or now >= self._window_ends + PATIENT_SECONDS
        if now >= self._window_ends and enough:
            self._adapt(self._sum / self._samples, now - self._window_began)
            self._window_began = now
            self._window_ends = now + WINDOW_SECONDS
            self._sum = 0.0
            self._samples = 0
            self._most_in_hand = 0

    def _adapt(self, short: float, seconds: float) -> None:
        weight = min(2 * seconds / _LONG_SECONDS, 0.1)
        # A queue that was let grow does not count as what an answer usually takes.
        typical = min(short, 2 * self._long) if self._long else short
        self._long += (typical - self._long) * (weight if self._long else 1.0)
        # After an overload the long-run mean comes down faster than it went up.
        if self._long > 2 * short:
            self._long *= 0.95
        # A limit that was not reached says nothing about itself.
        if self._most_in_hand < self.value / 2:
            return
        gradient = 1.0
        if short > 0:
            ratio = _TOLERANCE * max(self._long, CALM_SECONDS) / short
            gradient = max(0.5, min(1.0, ratio))
        adapted = self.value * gradient + math.sqrt(self.value) / 2
        smoothed = (1 - _SMOOTHING) * self.value + _SMOOTHING * adapted
        self.value = max(self._smallest, min(self._largest, smoothed))


class Caller(Entity):
    """Someone who may send requests, and how many.

    Attributes:
        name: The caller's name.
        sha256: The SHA-256 of the caller's token, in hexadecimal.
        per_second: How many requests a second the caller may send on average.
        burst: How many requests the caller may send at once.
    """

    name: str
    sha256: str
    per_second: float = math.inf
    burst: float = 1.0


@dataclass
class _Rate:
    caller: Caller
    arrives: float = -math.inf  # when the last accepted request was due at the caller's exact rate


class Callers:
    """Checks tokens and rates, by the generic cell rate algorithm: one number for each caller.

    Args:
        callers: Who may send requests.

    Raises:
        Invalid: A caller's digest or rate is malformed.
    """

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
        """Admit a request, and return its caller's name.

        Args:
            authorization: The value of the header `Authorization`, or None.
            now: The monotonic time, in seconds.
            cost: How many requests this one counts as.

        Raises:
            Unauthenticated: The token is missing or unknown.
            Limited: The caller sends too fast; the error says when the request would pass.
        """
        scheme, _, token = (authorization or b"").partition(b" ")
        rate = None
        if scheme.lower() == b"bearer":
            rate = self._rates.get(sha256(token.strip()).digest())
        if rate is None:
            raise Unauthenticated(
                "Send a token that this server knows: Authorization: Bearer TOKEN."
            )
        interval = 1 / rate.caller.per_second
        arrives = max(rate.arrives, now) + cost * interval
        late = arrives - now - max(rate.caller.burst, cost) * interval
        if late > 1e-9:
            raise Limited(
                f"Caller '{rate.caller.name}' asks faster than its "
                f"{rate.caller.per_second:g} a second.",
                late,
            )
        rate.arrives = arrives
        return rate.caller.name


class CallersFile(Entity):
    """The content of a file of callers.

    Attributes:
        caller: The callers.
    """

    caller: list[Caller]


def read_callers(file: Path) -> Callers:
    """Read callers from a TOML file with a table `[[caller]]` for each.

    Args:
        file: The file.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is no TOML, or a caller in it is malformed.
    """
    try:
        content = tomllib.loads(file.read_text())
    except FileNotFoundError as error:
        raise NotFound(f"There is no file '{file}'.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"'{file}' is no TOML: {error}") from error
    return Callers(from_plain(content, CallersFile).caller)


class Limited(Busy):
    """A caller's rate is exceeded.

    Args:
        message: What the caller reads.
        after_seconds: After how many seconds the same request passes.
    """

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds
