"""Versions of data beside DVC: the same work by both command lines, one JSON line each.

Both are timed as people type them, start of the process included. The disk's own rate stands in the
last line: what is added is on the disk when Treadle says so, and DVC does not wait for that.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DVC = ROOT / ".peers-data" / "bin" / "dvc"
SMALL_FILES, SMALL_BYTES = 10_000, 20_000
MILLION = 1_000_000


class Tool:
    """A command line in a folder of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self.command = folder, command
        folder.mkdir()

    def run(self, *words: str) -> float:
        """Run a command; gives its seconds."""
        environment = os.environ | {"DVC_NO_ANALYTICS": "1", "HOME": str(self.folder)}
        began = time.perf_counter()
        subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - began

    def room(self) -> int:
        """Bytes below the tool's hidden folders."""
        hidden = (".treadle", ".dvc")
        files = (file for name in hidden for file in (self.folder / name).rglob("*"))
        return sum(file.stat().st_size for file in files if file.is_file())


class Words:
    """What each tool is told for one piece of work."""

    def __init__(self, add: list[str], status: list[str], checkout: list[str]) -> None:
        self.add, self.status, self.checkout = add, status, checkout


def small_files(folder: Path, number: int, size: int) -> None:
    """Make files of noise, a thousand in a folder."""
    noise = random.Random(1)
    for at in range(number):
        if at % 1000 == 0:
            (folder / f"{at // 1000:04}").mkdir(parents=True)
        (folder / f"{at // 1000:04}" / f"{at:07}").write_bytes(noise.randbytes(size))


def large_file(file: Path, size: int) -> None:
    """Make a file of noise."""
    noise = random.Random(2)
    with file.open("wb") as target:
        for _ in range(size >> 20):
            target.write(noise.randbytes(1 << 20))


def change_five_bytes(file: Path, size: int) -> None:
    """Change five bytes in the middle."""
    with file.open("r+b") as target:
        target.seek(size // 2)
        target.write(b"other")


def disk_rate(folder: Path) -> float:
    """Bytes a second that reach the disk when one file is written and synced."""
    content = random.Random(3).randbytes(200 << 20)
    began = time.perf_counter()
    with (folder / "rate").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    (folder / "rate").unlink()
    return len(content) / (time.perf_counter() - began)


def told(work: str, seconds: dict[str, float], **more: object) -> None:
    """Print one line: seconds of each, and the ratio to the peer."""
    line: dict[str, object] = {"work": work}
    line |= {name: round(value, 3) for name, value in seconds.items()}
    if "dvc_s" in seconds:
        line["ratio"] = round(seconds["dvc_s"] / seconds["treadle_s"], 2)
    print(json.dumps(line | more), flush=True)


def both(tools: dict[str, Tool], work: Callable[[str, Tool], float]) -> dict[str, float]:
    """The same work by each tool."""
    return {f"{name}_s": work(name, tool) for name, tool in tools.items()}


def main() -> None:
    """Run the work that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-bytes", type=int, default=2 << 30)
    parser.add_argument("--million", action="store_true", help="add a million files as well")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        tools = {"treadle": Tool(folder / "treadle", [sys.executable, "-m", "treadle"])}
        if DVC.exists():
            tools["dvc"] = Tool(folder / "dvc", [str(DVC)])
            tools["dvc"].run("init", "--no-scm", "-q")
        words = {
            "treadle": Words(
                ["data", "add", "small", "small"],
                ["data", "status"],
                ["data", "checkout", "small", "small"],
            ),
            "dvc": Words(["add", "-q", "small"], ["status", "-q"], ["checkout", "-q", "small"]),
        }
        small_files(folder / "small", SMALL_FILES, SMALL_BYTES)
        for tool in tools.values():
            shutil.copytree(folder / "small", tool.folder / "small")
        subprocess.run(["sync"], check=False)
        what = f"{SMALL_FILES:,} x {SMALL_BYTES // 1000} kB"
        told(f"add {what}", both(tools, lambda name, tool: tool.run(*words[name].add)))
        told(f"status of {what}", both(tools, lambda name, tool: tool.run(*words[name].status)))
        for tool in tools.values():
            shutil.rmtree(tool.folder / "small")
        told(f"checkout of {what}", both(tools, lambda name, tool: tool.run(*words[name].checkout)))
        add_large(folder, tools, asked.large_bytes)
        if asked.million:
            add_a_million(tools["treadle"])
        rate = disk_rate(folder)
        print(json.dumps({"work": "the disk's own rate, synced", "mb_per_s": round(rate / 1e6)}))


def add_large(folder: Path, tools: dict[str, Tool], size: int) -> None:
    """Add a large file, and add it again after five bytes were changed."""
    large_file(folder / "large", size)
    for tool in tools.values():
        shutil.copyfile(folder / "large", tool.folder / "large")
    (folder / "large").unlink()
    subprocess.run(["sync"], check=False)
    words = {"treadle": ["data", "add", "large", "large"], "dvc": ["add", "-q", "large"]}
    for what in ("add", "add again, five bytes changed:"):
        before = {name: tool.room() for name, tool in tools.items()}
        seconds = both(tools, lambda name, tool: tool.run(*words[name]))
        more = {f"{name}_bytes": tool.room() - before[name] for name, tool in tools.items()}
        told(f"{what} {size / 1e9:.1f} GB", seconds, **more)
        for tool in tools.values():
            (tool.folder / "large").chmod(0o644)
            change_five_bytes(tool.folder / "large", size)


def add_a_million(tool: Tool) -> None:
    """Add a million files of a kilobyte; says how much memory it took."""
    small_files(tool.folder / "many", MILLION, 1000)
    subprocess.run(["sync"], check=False)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = tool.run("data", "add", "many", "many")
    memory = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    told("add 1,000,000 x 1 kB", {"treadle_s": seconds}, memory_mb=memory // 1000)


if __name__ == "__main__":
    main()
