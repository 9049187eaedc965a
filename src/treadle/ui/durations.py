"""Writes durations as people read them."""

import itertools

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration_of(seconds: float) -> str:
    """A duration in its largest two units, such as ``2 min 5 s``; one under a minute in seconds.

    Args:
        seconds: The duration.
    """
    seconds = max(0.0, seconds)  # its ends may be told by two clocks
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    size, unit, next_size, next_unit = next(
        (*larger, *smaller) for larger, smaller in itertools.pairwise(_UNITS) if whole >= larger[0]
    )
    count, rest = divmod(whole, size)
    smaller = rest // next_size
    return f"{count} {unit} {smaller} {next_unit}" if smaller else f"{count} {unit}"
