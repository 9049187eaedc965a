"""Runs jobs as forks of a process that has the heavy libraries loaded, so they start fast."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

from treadle.backends.executor.subprocess import GRACE_SECONDS, Subprocess
from treadle.backends.sandbox.environment import ordinary
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Unavailable
from treadle.kernel.files import write_whole
from treadle.ports.executor import Launch

FORGOTTEN_SECONDS = 60.0
"""After this time a job whose environment nobody has read will not begin any more."""


class Forkserver(Subprocess):
    """Like `Subprocess`, with forks for launches of the form ``python -m MODULE ARGUMENTS``.

    The zygote starts with the first job and ends with this process. Its forks see its end, and
    end too. It knows no secret, so that confined code can be forked from it: the environment of a
    job is in a file that the job's process reads and removes.

    Args:
        url: `forkserver:///FOLDER`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._zygote: subprocess.Popen[str] | None = None
        self._swept_at = float("-inf")
        # by name: the fork's process id, and the zygote it ends with
        self._forks: dict[str, tuple[int, subprocess.Popen[str]]] = {}

    def start(self, launch: Launch) -> None:
        """Start a job.

        Args:
            launch: What to start.

        Raises:
            Conflict: The name was started before.
        """
        if launch.arguments[:2] != [sys.executable, "-m"]:
            return super().start(launch)
        log = self._folder / f"{launch.name}.log"
        try:
            log.touch(exist_ok=False)
        except FileExistsError as error:
            raise Conflict(
                f"'{launch.name}' was started before; a name is started once."
            ) from error
        self._remove_forgotten()
        environment = to_json(dict(os.environ) | launch.environment)
        write_whole(self._folder / f"{launch.name}.environment", environment, mode=0o600)
        order = {
            "name": launch.name,
            "folder": str(self._folder),
            "arguments": launch.arguments[2:],
            "confine": launch.confine,
        }
        try:
            self._forks[launch.name] = self._fork(json.dumps(order))
        except BaseException:
            self._remove_environment(launch.name)
            raise
        return None

    def poll(self, name: str) -> int | None:
        """Return a job's exit code, None while it runs.

        Args:
            name: The job's name.

        Raises:
            NotFound: No process of that name was started.
        """
        if name not in self._forks:
            return super().poll(name)
        _, zygote = self._forks[name]
        if zygote.poll() is None and not (self._folder / f"{name}.exit").exists():
            return None
        del self._forks[name]
        self._remove_environment(name)
        return self._remembered(name)

    def cancel(self, name: str) -> None:
        """End a job with its children, by force after `GRACE_SECONDS`.

        Args:
            name: The job's name.
        """
        if name not in self._forks:
            return super().cancel(name)
        pid, _ = self._forks[name]
        until = time.monotonic() + GRACE_SECONDS
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        while self.poll(name) is None and time.monotonic() < until:
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        while self.poll(name) is None:
            time.sleep(0.01)
        return None

    def close(self) -> None:
        """End all jobs and the zygote."""
        for name in list(self._forks):
            self.cancel(name)
        super().close()
        if self._zygote is not None:
            orders, _ = self._pipes()
            orders.close()
            self._zygote.wait()
            self._zygote = None

    def _fork(self, order: str) -> tuple[int, subprocess.Popen[str]]:
        if self._zygote is None or self._zygote.poll() is not None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-P", "-m", "treadle.backends.executor.zygote", *_own_modules()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=ordinary(os.environ),
                start_new_session=True,
            )
        orders, answers = self._pipes()
        orders.write(order + "\n")
        orders.flush()
        answer = answers.readline()
        if not answer:
            raise Unavailable(
                "The process that starts jobs has died. The next job starts a new one."
            )
        return int(answer), self._zygote

    def _remove_environment(self, name: str) -> None:
        """Remove the environment of a job that ended before it had read it: it holds secrets."""
        (self._folder / f"{name}.environment").unlink(missing_ok=True)

    def _remove_forgotten(self) -> None:
        """Now and then, remove what a starter that was killed has left of jobs that never began."""
        if time.monotonic() - self._swept_at < FORGOTTEN_SECONDS:
            return
        self._swept_at = time.monotonic()
        for file in self._folder.glob("*.environment"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > FORGOTTEN_SECONDS:
                    file.unlink()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        return self._zygote.stdin, self._zygote.stdout


def _own_modules() -> list[str]:
    """The modules of Treadle that this process uses, backends too: its jobs will use the same."""
    return sorted(name for name in sys.modules if name.startswith("treadle."))
