"""Features with their values as known at the time of each row.

The package can be called: ``treadle.features("weather")`` gives the features of views (see
``treadle.features.feature_set.features``).
"""

import sys
from types import ModuleType
from typing import Any


class _Features(ModuleType):
    """This package as ``treadle.features``, which is both a package and a function."""

    @property
    def __wrapped__(self) -> Any:
        """The function that a call calls."""
        from treadle.features.feature_set import features  # loads DuckDB and numpy

        return features

    def __call__(self, *views: Any, **options: Any) -> Any:
        """Give the features of some views.

        Args:
            *views: As ``feature_set.features`` takes them.
            **options: As ``feature_set.features`` takes them.
        """
        return self.__wrapped__(*views, **options)


sys.modules[__name__].__class__ = _Features
