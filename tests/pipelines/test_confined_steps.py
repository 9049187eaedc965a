"""Steps that try to leave their sandbox, as jobs of a real worker."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.project import drained, settled, start, value, write
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files

SECRET = "hunter2-in-the-settings"
TRIES = """
    import os, socket, subprocess
    from pathlib import Path

    def tried(attempt):
        try:
            return repr(attempt())
        except (OSError, subprocess.SubprocessError) as error:
            return f"refused {type(error).__name__}"

    @treadle.step
    def trial(rows: Path, home, other, port):
        home, other = Path(home), Path(other)
        return {
            "rows": rows.read_text(),
            "key": tried(lambda: (home / ".signing.key").read_bytes()),
            "database": tried(lambda: (home / "treadle.db").read_bytes()),
            "foreign": tried(lambda: other.read_bytes()),
            "list": tried(lambda: [p.name for p in home.iterdir()]),
            "network": tried(lambda: socket.create_connection(("127.0.0.1", port), 2)),
            "processes": tried(lambda: [p for p in os.listdir("/proc") if p.isdigit()]),
            "environment": tried(lambda: dict(os.environ)),
            "memory": tried(found_in_memory),
            "planted": planted(),
        }

    def planted():
        kept = "".join(["hunter2", "-in-the-settings", "!"]).encode()
        return tried(found_in_memory) + kept.decode()[:0]

    def found_in_memory():
        needle = bytes("hunter2", "ascii") + b"-in-the-" + bytes("sgnittes", "ascii")[::-1]
        hits = 0
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                span, rights, *rest = line.split()
                if "rw" not in rights or "[v" in line:
                    continue
                first, last = (int(end, 16) for end in span.split("-"))
                try:
                    memory.seek(first)
                    content = memory.read(last - first)
                except (OSError, OverflowError, ValueError):
                    continue
                hits += content.count(needle + b"!")
                del content
        return hits
"""


@pytest.fixture(params=["forkserver", "subprocess"])
def platform(
    open_home: Callable[..., Embedded],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Embedded:
    monkeypatch.setenv("TREADLE_TOKEN", f"{SECRET}!")
    executor = f"{request.param}://{tmp_path / 'home' / 'jobs'}"
    return open_home(target="memory:", executor=executor, sandbox="auto:")


def test_a_step_reads_its_inputs_and_finds_no_secret_anywhere(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", TRIES)
    own = put_files(platform.blobs, {"rows.csv": b"a\n1\n"})
    foreign = platform.blobs.put(b"canary of another project")
    other = next((tmp_path / "home" / "blobs").rglob(f"*{foreign[4:]}*"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        run = start(
            platform,
            folder,
            {"rows": own},
            home=platform.settings.home,
            other=str(other),
            port=server.getsockname()[1],
        )
        found = value(platform, drained(platform, run), "trial")
    assert isinstance(found, dict)
    refused = {name for name, said in found.items() if said.startswith("refused")}
    assert refused == {"key", "database", "foreign", "network"}
    assert found["rows"] == "a\n1\n"
    assert found["list"] == "['cache']"
    assert found["processes"] == "['1']"
    assert SECRET not in found["environment"]
    assert found["memory"] == "0"
    assert int(found["planted"]) >= 1  # so the search finds what is there


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("(folder / 'model.onnx').symlink_to(self.target)", "treadle-output/model.onnx"),
        ("folder.rmdir(); folder.symlink_to(Path(self.target).parent)", "treadle-output"),
        ("os.mkfifo(folder / 'model.onnx')", "treadle-output/model.onnx"),
    ],
)
def test_what_a_step_links_to_is_not_stored(
    platform: Embedded, tmp_path: Path, made: str, named: str
) -> None:
    """A link to the key, a link in the place of the folder itself, and a pipe."""
    body = f"""
        import os
        from pathlib import Path
        from treadle.pipelines.output import Packaged

        class Link(Packaged):
            def __init__(self, target): self.target = target
            def save(self, folder, exporter, runtime):
                {made}

        @treadle.step
        def model(key): return Link(key)
        """
    folder = write(tmp_path / "p", body)
    key = str(Path(platform.settings.home, ".signing.key"))
    ended = drained(platform, start(platform, folder, key=key))
    assert ended.error is not None
    assert f"'{named}' is neither a file nor a folder" in ended.error


def test_a_step_that_takes_too_much_fails_and_says_so(platform: Embedded, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        """
        @treadle.step
        def greedy(): return len(bytearray(1 << 44))
        """,
    )
    ended = drained(platform, start(platform, folder))
    assert ended.error is not None
    assert "MemoryError" in ended.error


def test_no_folder_of_a_step_is_left(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef one(): return 1")
    left = Path(platform.settings.home, "cache", "steps")
    (left / "999999999.killed").mkdir(parents=True)
    assert drained(platform, start(platform, folder)).state == "succeeded"
    assert list(left.iterdir()) == []
    assert not list(Path(platform.settings.home).rglob("*.environment"))


def test_where_the_declared_strength_cannot_be_had_no_step_runs(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_SANDBOX_STRENGTH", "off")
    platform = open_home(target="memory:", sandbox="landlock:")
    folder = write(tmp_path / "p", "@treadle.step\ndef one(): return open('ran', 'w').close()")
    ended = settled(platform, start(platform, folder))
    assert ended.state != "succeeded"
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("open('/data/rows.csv')", r"declare a file as \[data\.NAME\]"),
        ("__import__('urllib.request').request.urlopen('http://example.com')", "network = true"),
    ],
)
def test_what_the_sandbox_may_have_caused_is_said_with_what_to_do(
    open_home: Callable[..., Embedded], tmp_path: Path, body: str, hint: str
) -> None:
    platform = open_home(target="memory:", sandbox="auto:")
    folder = write(tmp_path / "p", f"@treadle.step\ndef one(): return {body}")
    ended = drained(platform, start(platform, folder))
    assert ended.error is not None
    assert re.search(hint, ended.error)


def test_what_a_step_prints_is_in_the_log_of_its_job(platform: Embedded, tmp_path: Path) -> None:
    body = "@treadle.step\ndef one(turn):\n    import sys\n    print('said', turn)\n"
    body += "    print('warned', turn, file=sys.stderr)\n    return 1\n"
    folder = write(tmp_path / "p", body)
    for turn in ("first", "second", "third"):  # one has a runner that waited for it
        ended = drained(platform, start(platform, folder, turn=turn))
        (step,) = ended.steps
        assert step.job is not None
        assert {f"said {turn}", f"warned {turn}"} <= set(
            platform.jobs.log(job=step.job).text.splitlines()
        )
