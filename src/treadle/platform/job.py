"""The process of one attempt at a job: ``python -m treadle.platform.job JOB ATTEMPT``."""

import logging
import os
import sys
import threading
import time

from treadle.kernel.errors import TreadleError
from treadle.platform.settings import from_environment
from treadle.platform.wiring import Embedded


def main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_when_abandoned, daemon=True).start()
    platform = Embedded(from_environment())
    job = platform.jobs.get(job=arguments[0])
    if job.attempt != int(arguments[1]) or job.state != "running":
        print(f"attempt {arguments[1]} of {job.id} is over; nothing was done")
        return 0
    try:
        platform.run_job(job)
    except TreadleError as error:
        print(error.message, flush=True)
        return 1
    return 0


def _end_when_abandoned() -> None:
    """End when whoever started this process is gone: the job goes to another worker."""
    parent = int(os.environ.get("TREADLE_PARENT", os.getppid()))
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(75)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
