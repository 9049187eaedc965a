"""schemathesis against a real server, which fails on nothing that the OpenAPI document allows."""

import os
import re
import subprocess
from pathlib import Path

from tests.platform.test_up import up
from treadle.platform.remote import connect

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("TREADLE_FUZZ_SECONDS", "60"))


def test_no_request_that_the_document_allows_makes_the_server_fail(tmp_path: Path) -> None:
    """A minute of it; ``TREADLE_FUZZ_SECONDS=600`` for ten.

    The cases of one large operation, ``scope.declare``, take a quarter of that.
    """
    with up(tmp_path / "home") as url:
        token = connect(url).access.create_token(name="fuzz", role="admin").secret
        command = [
            str(ROOT / ".clients" / "openapi" / "bin" / "schemathesis"),
            "run",
            f"{url}/api/openapi.json",
        ]
        command += [
            "-H",
            f"Authorization: Bearer {token}",
            "--exclude-path-regex",
            "revoke|access/take",
        ]
        command += [
            "-c",
            "not_a_server_error",
            "--max-time",
            str(SECONDS),
            "--phases",
            "examples,coverage,fuzzing",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS + 200
        )
    assert done.returncode == 0, done.stdout[-6000:]
    told = re.search(r"(\d+) generated", done.stdout)
    assert told is not None and int(told.group(1)) > 150, done.stdout[-2000:]  # on a slow machine
