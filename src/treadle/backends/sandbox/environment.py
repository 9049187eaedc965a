"""Environment variables that confined code may have: those that name no secret."""

from collections.abc import Mapping

from treadle.kernel.telemetry import OPT_OUTS, report_nothing

_NAMES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS", "VIRTUAL_ENV"})
_BEGINNINGS = (
    "LC_",
    "PYTHON",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "NUMEXPR_",
    "VECLIB_",
    "BLIS_",
    "CUDA_",
    "NVIDIA_",
    "LD_LIBRARY_PATH",
    "SSL_CERT_",
    "MALLOC_",
)


def ordinary(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how a process runs, without those that say who it is.

    Args:
        environment: All variables of a process.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _NAMES or name in OPT_OUTS or name.startswith(_BEGINNINGS)
    }
    report_nothing(kept)
    return kept
