"""Every block of the README and of every page under docs/ runs, and the make targets exist."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm.command import write_command
from treadle.kernel.process import holder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TIMEOUT_SECONDS = 600


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, text)."""
    return re.findall(
        r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def is_ours(page: Path) -> bool:
    return any(language in ("sh", "python") for language, _ in blocks(page))


def name_of(page: Path) -> str:
    """What a page's tests are called: its path, since pages of several folders share names."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if is_ours(page)], ids=name_of)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    write_command(tmp_path / ".bin")
    script = "set -euo pipefail\n"
    for number, (language, text) in enumerate(blocks(page)):
        script += f"echo '--- block {number} of {page.name}'\n"
        if language == "python":
            (tmp_path / f"block{number}.py").write_text(
                text.replace("token=…", "token=None"), encoding="utf-8"
            )
            script += f"cd {tmp_path} && python block{number}.py\n"
        elif language == "sh":
            script += "".join(runnable(line) for line in text.splitlines(keepends=True))
    try:
        ran = subprocess.run(
            [
                "timeout",
                "--kill-after=5",
                str(TIMEOUT_SECONDS),
                "bash",
                "-c",
                script,
            ],  # ends by itself, whoever waits
            cwd=tmp_path,
            env=environment(tmp_path / ".bin"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS + 10,
        )
    finally:
        stop_what_was_started(tmp_path)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]


def runnable(line: str) -> str:
    """A line as the test runs it: make targets and what follows the demo must only exist."""
    words = line.split()
    if words[:1] == ["make"]:
        return f"make -C {ROOT} --dry-run PYTHON={sys.executable} {words[1]} > /dev/null\n"
    if "treadle-demo" in line:
        return f"treadle {words[1]} --help > /dev/null\n"
    return line


def environment(commands: Path) -> dict[str, str]:
    """Some commands and those of this Python first on the PATH; no home but the page's own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}
    return ours | {
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "120",
        "PYTEST_ADDOPTS": "-p no:kmock",  # as in pyproject.toml: its plugin wants pytest-asyncio
    }


def stop_what_was_started(folder: Path) -> None:
    for lock in folder.rglob("supervisor.lock"):
        pid = holder(lock)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    """Anchors, and links of generated pages, are checked by the strict build of the site."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
