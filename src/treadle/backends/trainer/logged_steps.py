"""Which steps of each metric a training has logged, also where its process was killed."""

import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from struct import Struct

_NUMBER = Struct("<q")
_METRICS = 512
"""Metrics whose steps are noted; those beyond are logged again after a restart."""


class LoggedSteps:
    """The last step of each metric, in a small file that outlives the process.

    A restarted training computes steps again that it has logged; the recorder leaves them out.

    Args:
        file: The file, which is made; the names of metrics are beside it.
    """

    def __init__(self, file: Path) -> None:
        names = file.with_suffix(".names")
        self._names = names.open("a+", encoding="utf-8")
        self._names.seek(0)
        self._places = {
            name: place for place, name in enumerate(self._names.read().split("\n")[:-1])
        }
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(handle, _METRICS * _NUMBER.size)
        self._steps = mmap.mmap(handle, _METRICS * _NUMBER.size)
        os.close(handle)
        self._done = {name: self._read(place) for name, place in self._places.items()}

    def new(self, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Return those values that were not logged before a restart, and note them.

        Args:
            values: Values by metric.
            step: Their step.
        """
        found = {
            name: value for name, value in values.items() if step > self._done.get(name, -math.inf)
        }
        for name in found:
            place = self._places.get(name)
            if place is None:
                place = self._places[name] = len(self._places)
                self._names.write(name.replace("\n", " ") + "\n")
                self._names.flush()
            if place < _METRICS:
                _NUMBER.pack_into(self._steps, place * _NUMBER.size, step << 1 | 1)
        return found

    def _read(self, place: int) -> float:
        """The last step of a metric; 0 in the file stands for none."""
        if place >= _METRICS:
            return -math.inf
        number: int = _NUMBER.unpack_from(self._steps, place * _NUMBER.size)[0]
        return number >> 1 if number else -math.inf
