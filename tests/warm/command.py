"""The command ``treadle`` for scripts, as a fork of a process that has the libraries loaded."""

import sys
from pathlib import Path

from tests.warm.popen import servers

SCRIPT = """#!{python} -ISE
import json, os, signal, socket, sys

order = {{
    "module": "treadle",
    "arguments": sys.argv[1:],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "path": [],
    "session": False,
    "group": os.getpgid(0),
    "places": [0, 1, 2],
}}
text = json.dumps(order).encode()
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect({address!r})
    message = b"%d\\n" % len(text) + text
    sent = socket.send_fds(caller, [message], [0, 1, 2])
    caller.sendall(message[sent:])
    with caller.makefile("rb") as answers:
        pid = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = os.waitstatus_to_exitcode(int(answers.readline()))
sys.exit(code if code >= 0 else 128 - code)
"""


def write_command(folder: Path) -> None:
    """Write a command ``treadle`` into a folder, for the front of the PATH.

    Args:
        folder: Where to; it is made if absent.
    """
    servers.caller("light").close()  # the server answers by now
    folder.mkdir(exist_ok=True)
    file = folder / "treadle"
    address = str(servers.start() / "light.sock")
    file.write_text(SCRIPT.format(python=sys.executable, address=address), encoding="utf-8")
    file.chmod(0o755)
