"""Runs jobs as child processes, each in a process group and with a log file of its own."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.kernel.errors import Conflict, NotFound
from treadle.ports.executor import Launch

GRACE_SECONDS = 2.0


class Subprocess:
    """Child processes, whose logs and exit codes are files in a folder.

    A child gets its starter's process id in ``TREADLE_PARENT`` and watches it, so that it ends
    when it is abandoned.

    Args:
        url: `subprocess:///FOLDER`.
    """

    def __init__(self, url: str) -> None:
        self._folder = Path(unquote(urlsplit(url).path))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, launch: Launch) -> None:
        """Start a job.

        Args:
            launch: What to start.

        Raises:
            Conflict: The name was started before.
        """
        log = self._folder / f"{launch.name}.log"
        try:
            output = log.open("xb")
        except FileExistsError as error:
            raise Conflict(
                f"'{launch.name}' was started before; a name is started once."
            ) from error
        environment = os.environ | launch.environment | {"TREADLE_PARENT": str(os.getpid())}
        with output:
            self._children[launch.name] = subprocess.Popen(
                launch.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def poll(self, name: str) -> int | None:
        """Return a job's exit code, None while it runs.

        Args:
            name: The job's name.

        Raises:
            NotFound: No process of that name was started.
        """
        child = self._children.get(name)
        if child is None:
            return self._remembered(name)
        code = child.poll()
        if code is not None:
            (self._folder / f"{name}.exit").write_text(str(code))
            del self._children[name]
        return code

    def cancel(self, name: str) -> None:
        """End a job with its children, by force after `GRACE_SECONDS`.

        Args:
            name: The job's name.
        """
        child = self._children.get(name)
        if child is None or child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_SECONDS
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def log(self, name: str, offset: int = 0) -> bytes:
        """Return up to 1 MiB of a job's output; nothing for an unknown name.

        Args:
            name: The job's name.
            offset: How many bytes to skip.
        """
        try:
            with (self._folder / f"{name}.log").open("rb") as file:
                file.seek(offset)
                return file.read(1 << 20)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """End all jobs."""
        for name in list(self._children):
            self.cancel(name)

    def _remembered(self, name: str) -> int | None:
        path = self._folder / f"{name}.exit"
        if not (self._folder / f"{name}.log").exists():
            raise NotFound(f"'{name}' was never started here.")
        return int(path.read_text()) if path.exists() else -signal.SIGKILL
