"""Child processes and forks do what an executor must do."""

import os
import signal
from pathlib import Path

import pytest

from treadle.ports.executor import Executor
from treadle.testing.executor import ExecutorSuite, ended, wait_for_log


class TestSubprocess(ExecutorSuite):
    backend = scheme = "subprocess"


class TestForkserver(ExecutorSuite):
    backend = scheme = "forkserver"

    def test_forks_end_with_their_zygote_also_when_another_has_taken_its_place(
        self, executor: Executor
    ) -> None:
        executor.start(self.launch("a.1", "abandoned"))
        fork = int(wait_for_log(executor, "a.1", lines=1)[0])
        zygote = int(Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(zygote, signal.SIGKILL)
        wait_until_dead(zygote)
        executor.start(self.launch("b.1", "say", "hello", "0"))
        assert ended(executor, "a.1") == -signal.SIGKILL
        assert ended(executor, "b.1") == 0

    def test_the_environment_of_a_job_that_never_read_it_is_removed(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        """It holds secrets, and nobody needs it any more."""
        executor.start(self.launch("a.1", "abandoned"))
        wait_for_log(executor, "a.1", lines=1)
        (log,) = tmp_path.rglob("a.1.log")
        unread, forgotten = log.with_name("a.1.environment"), log.with_name("z.1.environment")
        fork = int(executor.log("a.1"))
        zygote = int(Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[1])
        unread.write_text("{}")
        os.kill(zygote, signal.SIGKILL)
        assert ended(executor, "a.1") == -signal.SIGKILL
        assert not unread.exists()
        forgotten.write_text("{}")
        os.utime(forgotten, (0, 0))
        again = type(executor)(f"forkserver://{log.parent}")  # type: ignore[call-arg]
        again.start(self.launch("b.1", "say", "hello", "0"))
        assert ended(again, "b.1") == 0
        assert not forgotten.exists()
        again.close()

    def test_its_zygote_ends_without_a_word(
        self, executor: Executor, capfd: pytest.CaptureFixture[str]
    ) -> None:
        executor.start(self.launch("a.1", "say", "hello", "0"))
        assert ended(executor, "a.1") == 0
        executor.close()
        assert capfd.readouterr() == ("", "")


def wait_until_dead(pid: int) -> None:
    """Wait for the end of a child process, and leave its exit code to whoever waits for it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
