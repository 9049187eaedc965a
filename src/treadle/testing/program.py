"""The executor suite's program: ``python -m treadle.testing.program WHAT ARGUMENTS``."""

import os
import signal
import subprocess
import sys
import time

FOR_EVER_SECONDS = 60


def main(what: str, *arguments: str) -> int:
    """Do one thing that a test needs, and return the exit code.

    Args:
        what: `say`, `environment`, `family`, `stubborn`, `kill` or `abandoned`.
        arguments: What the thing needs, such as a text to print.
    """
    if what == "say":
        print(arguments[0], flush=True)
        return int(arguments[1])
    if what == "environment":
        print(os.environ[arguments[0]], flush=True)
    elif what == "family":
        child = subprocess.Popen(
            [sys.executable, "-c", f"import time; time.sleep({FOR_EVER_SECONDS})"]
        )
        print(os.getpid(), child.pid, flush=True)
        time.sleep(FOR_EVER_SECONDS)
    elif what == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(FOR_EVER_SECONDS)
    elif what == "kill":
        os.kill(os.getpid(), int(arguments[0]))
    elif what == "abandoned":
        from treadle.ports.executor import end_when_abandoned

        end_when_abandoned()
        print(os.getpid(), flush=True)
        time.sleep(FOR_EVER_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
