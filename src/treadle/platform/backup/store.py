"""Where backups are: two blob stores, one of contents and one of manifests."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from treadle.backends.cipher.aesgcm import AESGCM
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound, TreadleError
from treadle.platform.addresses import backend, refuse_password
from treadle.platform.backup.manifest import FORMAT, Manifest, Stored
from treadle.ports.blobs import Blobs, digest_of

CONTENTS, MANIFESTS = "contents", "manifests"


class Store:
    """Contents and manifests of backups, behind any URL that a blob store has.

    What is stored is immutable and named by its digest, so a content that is there already is not
    copied again.

    Args:
        url: A folder's path, ``file:///FOLDER``, ``s3://BUCKET/PREFIX`` or what else a blob store's
            backend takes.
        key_file: The key file of encrypted backups; None for those that are not.
        make: Whether a folder that is not there is made.

    Raises:
        NotFound: There is no such folder.
    """

    def __init__(self, url: str, key_file: Path | None = None, *, make: bool = False) -> None:
        refuse_password(url)
        self.url = with_scheme(url)
        folder = Path(unquote(self.url.removeprefix("file://")))
        if self.url.startswith("file://") and not (folder / MANIFESTS).is_dir():
            if not make:
                raise NotFound(f"There is no backup at '{url}'.")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds hashes of tokens
        self.contents: Blobs = backend("blobs", below(self.url, CONTENTS))
        self.manifests: Blobs = backend("blobs", below(self.url, MANIFESTS))
        self._cipher = AESGCM(key_file) if key_file else None

    @property
    def encrypts(self) -> bool:
        """Whether what is stored is encrypted."""
        return self._cipher is not None

    def put(self, content: Path) -> Stored:
        """Store a content.

        Args:
            content: The file.
        """
        size, digest = content.stat().st_size, digest_of(content)
        if self._cipher is None:
            return Stored(digest=digest, bytes=size, stored=self.contents.put(content))
        with tempfile.TemporaryDirectory() as folder:
            sealed = Path(folder, "sealed")
            self._cipher.encrypt(content, sealed)
            return Stored(digest=digest, bytes=size, stored=self.contents.put(sealed))

    def fetch(self, stored: Stored, to: Path) -> None:
        """Write a content to a file, verified.

        Args:
            stored: The content.
            to: The file; its folder is made.

        Raises:
            NotFound: It is not stored.
            Corrupt: It is damaged, or the key file is another one.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".") as folder:
            copy = Path(folder, "copy")
            self.contents.fetch(stored.stored, copy)
            if self._cipher is not None:
                self._cipher.decrypt(copy, Path(folder, "plain"))
                copy = Path(folder, "plain")
            if digest_of(copy) != stored.digest:
                raise Corrupt(f"Content {stored.digest[:12]} of the backup is damaged.")
            copy.replace(to)

    def add(self, manifest: Manifest) -> str:
        """Store a manifest, last of all: without it there is no backup.

        Args:
            manifest: The manifest.

        Returns:
            Its name.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "manifest")
            file.write_bytes(to_json(manifest))
            if self._cipher is not None:
                self._cipher.encrypt(file, Path(folder, "sealed"))
                file = Path(folder, "sealed")
            return self.manifests.put(file)

    def read(self, name: str) -> Manifest:
        """Read a manifest.

        Args:
            name: Its name.

        Raises:
            NotFound: There is none of that name.
            Corrupt: It is damaged, or the key file is another one.
            Invalid: It is encrypted and there is no key file, or it is of another format.
        """
        content = self.manifests.get(name)
        encrypted = not content.startswith(b"{")
        if encrypted and self._cipher is None:
            raise Invalid("This backup is encrypted. Name its key file: --key-file FILE.")
        if encrypted and self._cipher is not None:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "sealed").write_bytes(content)
                self._cipher.decrypt(Path(folder, "sealed"), Path(folder, "plain"))
                content = Path(folder, "plain").read_bytes()
        manifest = from_json(content, Manifest)
        if manifest.format != FORMAT:
            raise Invalid(
                f"This backup was written by Treadle {manifest.treadle} in format "
                f"{manifest.format}; this one reads {FORMAT}."
            )
        return manifest

    def backups(
        self, broken: Callable[[str, TreadleError], None] | None = None
    ) -> Iterator[tuple[str, Manifest]]:
        """Yield all backups, oldest first.

        Args:
            broken: Told of manifests that cannot be read; without it they raise.
        """
        found = []
        for name in self.manifests.digests():
            try:
                found.append((name, self.read(name)))
            except (NotFound, Corrupt, Invalid) as error:
                if broken is None:
                    raise
                broken(name, error)
        yield from sorted(found, key=lambda one: (one[1].head.number, one[1].at))


def with_scheme(url: str) -> str:
    """Return a URL, or a folder's path as one.

    Args:
        url: A URL, or a path.
    """
    if "://" in url:
        return url
    return f"file://{quote(str(Path(url).expanduser().resolve()))}"


def below(url: str, name: str) -> str:
    """Return the URL of a place below another.

    Args:
        url: The URL; what follows a question mark is kept.
        name: The name of the place below.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))
