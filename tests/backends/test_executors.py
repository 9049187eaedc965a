"""Child processes and forks do what an executor must do."""

from treadle.testing.executor import ExecutorSuite


class TestSubprocess(ExecutorSuite):
    backend = scheme = "subprocess"


class TestForkserver(ExecutorSuite):
    backend = scheme = "forkserver"
