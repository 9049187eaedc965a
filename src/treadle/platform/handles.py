"""Says when this process has no file handles left: it then takes no connection, and no error."""

import asyncio
import errno
import logging
import os

LOOK_SECONDS = 1.0
log = logging.getLogger("treadle.handles")


class Handles:
    """Looks whether this process may open one more file; each change is logged, once."""

    def __init__(self) -> None:
        self._spent = False

    def look(self) -> None:
        """Try it. Call this about every second."""
        spent = _are_spent()
        if spent and not self._spent:
            log.error(
                "No file handle is left: connections wait, and nothing can be opened until some "
                "are closed. Allow this process more: ulimit -n"
            )
        elif self._spent and not spent:
            log.info("There are file handles again.")
        self._spent = spent

    async def watch(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)


def _are_spent() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
