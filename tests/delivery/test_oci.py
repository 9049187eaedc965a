"""Image archives: what the OCI specification asks of them, and that the same contents give the same
bytes.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from treadle.delivery.oci import Entry, ImageConfig, Layer, write_archive

CONFIG = ImageConfig(
    user="65532:65532",
    entrypoint=["/bin/model"],
    command=["serve"],
    environment={"PORT": "8080"},
    port=8080,
    volumes=["/state"],
    labels={"about": "a test"},
)


def layers(file: Path) -> list[Layer]:
    file.write_bytes(b"weights")
    first = Layer(
        "tools",
        [
            Entry("bin/model", b"#!", mode=0o755),
            Entry("bin/m", link="model"),
            Entry("tmp", mode=0o1777),
        ],
    )
    return [first, Layer("a model", [Entry("opt/model", file, owner=65532)])]


def write(to: Path) -> dict[str, bytes]:
    """The archive's files."""
    write_archive(to, "churn:3", layers(to.with_suffix(".weights")), CONFIG, lambda *_: None)
    with tarfile.open(to) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}  # type: ignore[union-attr]


def test_every_content_is_there_under_its_digest_and_size(tmp_path: Path) -> None:
    files = write(tmp_path / "a.tar")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    blobs = {
        name.rpartition("/")[2]: content
        for name, content in files.items()
        if name.startswith("blobs/")
    }
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in blobs.items())

    def follow(descriptor: dict[str, Any]) -> bytes:
        content = blobs[descriptor["digest"].removeprefix("sha256:")]
        assert len(content) == descriptor["size"]
        return content

    manifest = json.loads(follow(json.loads(files["index.json"])["manifests"][0]))
    config = json.loads(follow(manifest["config"]))
    unpacked = [gzip.decompress(follow(layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(one).hexdigest()}" for one in unpacked
    ]
    assert config["config"]["User"] == "65532:65532"
    with (
        tarfile.open(fileobj=io.BytesIO(unpacked[0])) as tools,
        tarfile.open(fileobj=io.BytesIO(unpacked[1])) as model,
    ):
        found = {
            m.name: (m.mode, m.uid, m.mtime, m.type)
            for m in [*tools.getmembers(), *model.getmembers()]
        }
    assert found["bin/model"] == (0o755, 0, 0, tarfile.REGTYPE)
    assert found["bin/m"][3] == tarfile.SYMTYPE
    assert found["tmp"][0] == 0o1777
    assert found["opt/model"][1] == 65532
    assert found["bin"][3] == tarfile.DIRTYPE


def test_the_same_contents_give_the_same_image(tmp_path: Path) -> None:
    write(tmp_path / "a.tar")
    write(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    missing = Layer("a model", [Entry("opt/model", tmp_path / "gone")])
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "a.tar", "churn:3", [missing], CONFIG, lambda *_: None)
    assert list(tmp_path.iterdir()) == []
