"""The process of one trial: ``python -m treadle.platform.trial_worker STUDY NUMBER ATTEMPT``."""

import logging
import sys
from typing import Any

from treadle.kernel.errors import Conflict, TreadleError
from treadle.platform import logs
from treadle.platform.settings import from_environment
from treadle.platform.step import reason
from treadle.platform.trial_run import Beating
from treadle.platform.wiring import Embedded
from treadle.ports.executor import end_when_abandoned


def main(arguments: list[str]) -> int:
    """Train and judge a trial, and tell how it ended.

    Args:
        arguments: Name of the study, and the trial's number and attempt as ``ask`` gave them.

    Returns:
        The exit code: 0 when it was told how the trial ended.
    """
    logs.configure("job")
    end_when_abandoned()
    about: dict[str, Any] = {
        "study": arguments[0],
        "number": int(arguments[1]),
        "attempt": int(arguments[2]),
    }
    with Embedded(from_environment()) as platform:
        try:
            with Beating(platform.tuning, **about):
                metrics = platform.tuning.perform(study=about["study"], number=about["number"])
            platform.tuning.tell(**about, state="finished", metrics=metrics)
        except Conflict as error:  # it was given to another worker meanwhile
            logs.tell(error.message)
        except Exception as error:
            if isinstance(error, TreadleError) and error.retry:
                raise  # the trial is begun once more
            logs.tell(reason(error), logging.ERROR)
            platform.tuning.tell(**about, state="failed", error=reason(error)[:1000])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
