"""The process of one attempt at a job: ``python -m treadle.platform.job JOB ATTEMPT``."""

import logging
import sys

from treadle.kernel.errors import TreadleError
from treadle.platform import logs
from treadle.platform.settings import from_environment
from treadle.platform.wiring import Embedded
from treadle.ports.executor import end_when_abandoned


def main(arguments: list[str]) -> int:
    """Do the work of one attempt at a job, unless the attempt is over.

    Args:
        arguments: The job's id and the attempt's number.

    Returns:
        The exit code: 0 when the work is done or the attempt is over, 1 when it failed with an
        error that names its reason.
    """
    logs.configure("job")
    end_when_abandoned()
    platform = Embedded(from_environment())
    job = platform.jobs.get(job=arguments[0])
    if job.attempt != int(arguments[1]) or job.state != "running":
        logs.tell(f"attempt {arguments[1]} of {job.id} is over; nothing was done")
        return 0
    try:
        platform.run_job(job)
    except TreadleError as error:
        logs.tell(error.message, logging.ERROR)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
