"""One query engine serves a process, its threads, and none of the processes that it forks."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from treadle.data.engine import query_engine


def count(rows: int) -> int:
    with query_engine() as connection:
        connection.execute(f"CREATE TEMP TABLE mine AS SELECT * FROM range({rows})")
        (found,) = connection.execute("SELECT count(*) FROM mine").fetchone() or (0,)
        return int(found)


def test_threads_have_tables_of_their_own() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count, range(1, 100))) == list(range(1, 100))


def test_a_forked_process_makes_its_own() -> None:
    assert count(3) == 3
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        child = context.Process(target=count, args=(5,))
        child.start()
        child.join(timeout=60)
        assert child.exitcode == 0
    assert count(4) == 4


def test_a_fork_that_ends_like_any_program_ends_well() -> None:
    program = (
        "import os, sys\n"
        "from treadle.data.engine import query_engine\n"
        "def one():\n"
        "    with query_engine() as c: return c.execute('SELECT 1').fetchall()\n"
        "one()\n"
        "pid = os.fork()\n"
        "one()\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert b"Traceback" not in ended.stderr
