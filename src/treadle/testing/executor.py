"""The conformance suite of executors."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.kernel.errors import Conflict, NotFound
from treadle.ports.executor import Executor, Launch
from treadle.testing.suite import Suite

PATIENCE_SECONDS = 30.0


class ExecutorSuite(Suite):
    """What every executor must do.

    Subclasses give the class attribute ``scheme``: the executor is made of ``SCHEME://FOLDER`` by
    its entry point.
    """

    port = "executor"
    scheme: str

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        """The executor under test, in a folder of its own."""
        from treadle.platform.addresses import backend

        made: Executor = backend("executor", f"{self.scheme}://{tmp_path / 'jobs'}")
        yield made
        made.close()

    def launch(self, name: str, *arguments: str, **environment: str) -> Launch:
        """Describe a process of the test program.

        Args:
            name: The process's name.
            arguments: The test program's arguments.
            environment: Environment variables.
        """
        code = ["-m", "treadle.testing.program", *arguments]
        return Launch(name=name, arguments=[sys.executable, *code], environment=environment)

    def test_a_process_ends_with_its_code_and_keeps_its_log(self, executor: Executor) -> None:
        """The exit code and the output stay readable after the end, from any offset."""
        executor.start(self.launch("a.1", "say", "hello", "0"))
        executor.start(self.launch("b.1", "say", "oh no", "3"))
        assert ended(executor, "a.1") == 0
        assert ended(executor, "b.1") == 3
        assert executor.poll("b.1") == 3
        assert executor.log("a.1").decode().strip() == "hello"
        assert executor.log("a.1", offset=2).decode().strip() == "llo"

    def test_a_name_is_started_once(self, executor: Executor) -> None:
        """A second start of a name raises Conflict; an unknown name raises NotFound."""
        executor.start(self.launch("a.1", "say", "x", "0"))
        with pytest.raises(Conflict, match=r"a\.1"):
            executor.start(self.launch("a.1", "say", "x", "0"))
        with pytest.raises(NotFound, match="never"):
            executor.poll("never")

    def test_the_environment_reaches_the_process(self, executor: Executor) -> None:
        """Environment variables of the launch are set in the process."""
        executor.start(self.launch("a.1", "environment", "COLOUR", COLOUR="blue"))
        assert ended(executor, "a.1") == 0
        assert executor.log("a.1").decode().strip() == "blue"

    def test_cancel_ends_it_and_all_that_it_started(self, executor: Executor) -> None:
        """Cancelling ends a process and its children, and may repeat."""
        executor.start(self.launch("a.1", "family"))
        pids = [int(pid) for pid in wait_for_log(executor, "a.1", lines=2)]
        executor.cancel("a.1")
        executor.cancel("a.1")
        assert executor.poll("a.1") not in (None, 0)
        assert gone(pids)

    def test_a_process_that_will_not_end_is_ended_by_force(self, executor: Executor) -> None:
        """A process that ignores SIGTERM is killed."""
        executor.start(self.launch("a.1", "stubborn"))
        wait_for_log(executor, "a.1", lines=1)
        executor.cancel("a.1")
        assert executor.poll("a.1") == -9

    def test_death_by_signal_is_told(self, executor: Executor) -> None:
        """The exit code of a process that a signal ended is the negative signal."""
        executor.start(self.launch("a.1", "kill", "9"))
        assert ended(executor, "a.1") == -9

    def test_an_abandoned_process_ends_by_itself(self, tmp_path: Path) -> None:
        """A process ends when the one that started its executor is killed."""
        starter = textwrap.dedent(
            f"""
            import sys, time
            from treadle.platform.addresses import backend
            from treadle.ports.executor import Launch
            executor = backend("executor", "{self.scheme}://{tmp_path / "abandoned"}")
            program = [sys.executable, "-m", "treadle.testing.program", "abandoned"]
            executor.start(Launch(name="a.1", arguments=program))
            while not executor.log("a.1").strip():
                time.sleep(0.01)
            print(executor.log("a.1").decode().strip(), flush=True)
            time.sleep(60)
            """
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert gone([child])


def ended(executor: Executor, name: str) -> int:
    """Wait for a process to end, and return its exit code.

    Args:
        executor: The executor that runs it.
        name: The process's name.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while (code := executor.poll(name)) is None:
        assert time.monotonic() < until, f"{name} did not end: {executor.log(name)!r}"
        time.sleep(0.01)
    return code


def wait_for_log(executor: Executor, name: str, *, lines: int) -> list[str]:
    """Wait until a process has printed enough, and return what it printed, split at white space.

    Args:
        executor: The executor that runs it.
        name: The process's name.
        lines: How many words to wait for.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while len(printed := executor.log(name).decode().split()) < lines:
        assert time.monotonic() < until, f"{name} printed only {printed}"
        time.sleep(0.01)
    return printed


def gone(pids: list[int]) -> bool:
    """Whether all the processes end within `PATIENCE_SECONDS`.

    Args:
        pids: The processes' ids.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if not any(_running(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
