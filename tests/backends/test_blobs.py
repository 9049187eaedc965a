"""Disk, S3 and a server's blob routes do what a blob store must do."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.addresses import backend
from treadle.ports.blobs import Blobs, check_place
from treadle.ports.damage import Mendable
from treadle.testing.blobs import BlobsSuite


class TestDisk(BlobsSuite):
    backend = "disk"

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        made: Blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
        return made

    def damage(self, blobs: Blobs, digest: str) -> None:
        path = Path(blobs.url.removeprefix("file://"), digest[:2], digest[2:])
        path.chmod(0o600)
        path.write_bytes(b"changed")

    def test_a_damaged_blob_is_moved_aside_and_stored_anew(
        self, blobs: Blobs, tmp_path: Path
    ) -> None:
        digest = blobs.put(b"content")
        self.damage(blobs, digest)
        assert isinstance(blobs, Mendable)
        blobs.move_aside(digest, tmp_path / "aside")
        assert (tmp_path / "aside").read_bytes() == b"changed"
        assert not blobs.has(digest)
        blobs.move_aside(digest, tmp_path / "aside")
        assert blobs.put(b"content") == digest
        assert blobs.get(digest) == b"content"

    def test_a_crash_while_writing_leaves_nothing_that_counts(self, blobs: Blobs) -> None:
        digest = blobs.put(b"whole")
        folder = Path(blobs.url.removeprefix("file://"), digest[:2])
        (folder / ".tmp_half").write_bytes(b"half of another")
        assert list(blobs.digests()) == [digest]

    def test_names_that_are_no_digests_cannot_leave_the_folder(self, blobs: Blobs) -> None:
        for name in ("../../etc/passwd", "a" * 63, "." * 64):
            with pytest.raises(Invalid, match="not a blob's name"):
                blobs.get(name)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 protocol server (moto) on loopback."""
    server = pytest.importorskip("moto.server", reason="declared gap: moto[server] is not here")
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "test")
    yield f"http://{host}:{port}"
    moto.stop()


class TestS3(BlobsSuite):
    backend = "s3"

    @pytest.fixture
    def blobs(self, s3_endpoint: str) -> Blobs:
        import boto3

        bucket = f"b{uuid4().hex}"
        boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(
            Bucket=bucket
        )
        made: Blobs = backend(
            "blobs", f"s3://{bucket}/some/prefix?endpoint={s3_endpoint}&region=us-east-1"
        )
        return made

    def damage(self, blobs: Blobs, digest: str) -> None:
        import obstore

        obstore.put(blobs._store, digest, b"changed")  # type: ignore[attr-defined]

    def test_a_bucket_that_is_not_there_is_told_as_such(self, s3_endpoint: str) -> None:
        blobs: Blobs = backend("blobs", f"s3://no-such?endpoint={s3_endpoint}&region=us-east-1")
        with pytest.raises(Invalid, match=f"There is no bucket .* s3://no-such at {s3_endpoint}"):
            blobs.put(b"content")
        assert not blobs.has("0" * 64)
        with pytest.raises(Invalid, match="There is no bucket"):
            check_place(blobs)

    def test_a_damaged_blob_is_moved_aside_and_stored_anew(
        self, blobs: Blobs, tmp_path: Path
    ) -> None:
        digest = blobs.put(b"content")
        self.damage(blobs, digest)
        assert isinstance(blobs, Mendable)
        blobs.move_aside(digest, tmp_path / "aside")
        assert (tmp_path / "aside").read_bytes() == b"changed"
        assert not blobs.has(digest)
        blobs.move_aside(digest, tmp_path / "aside")
        assert blobs.put(b"content") == digest
        assert blobs.get(digest) == b"content"
