"""Describes a version of a dataset in Croissant 1.0, JSON-LD that search engines read."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from treadle.data.model import DatasetVersion
from treadle.data.table_files import read_table
from treadle.kernel.errors import Invalid
from treadle.ports.blobs import Blobs, portions_of
from treadle.ports.manifest import entries

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
MOST_FILES = 10_000
"""Files that are described one by one; a description of more would help nobody."""
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FORMATS = {
    ".csv": "text/csv",
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".txt": "text/plain",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".wav": "audio/wav",
}
_KINDS = (
    (("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "U"), "sc:Integer"),
    (("DOUBLE", "FLOAT", "DECIMAL"), "sc:Float"),
    (("BOOLEAN",), "sc:Boolean"),
    (("DATE",), "sc:Date"),
    (("TIMESTAMP",), "sc:DateTime"),
)


def described(
    blobs: Blobs, version: DatasetVersion, *, description: str = "", licence: str = ""
) -> dict[str, Any]:
    """Describe a version: its files with sizes and SHA-256, and the columns of its tables.

    Args:
        blobs: Where it is stored.
        version: The version.
        description: What the dataset is.
        licence: Under which licence it may be used, as a name or an address.

    Raises:
        Invalid: It has more than 10,000 files.
    """
    if version.files > MOST_FILES:
        raise Invalid(
            f"{version.ref} has {version.files:,} files, and Croissant would list each. "
            f"It is written for up to {MOST_FILES:,}."
        )
    files, tables = [], []
    for path, file in entries(blobs, version.digest):
        if file.link or path.endswith("/"):
            continue
        files.append(
            {
                "@type": "cr:FileObject",
                "@id": path,
                "name": path,
                "contentUrl": path,
                "contentSize": f"{file.bytes} B",
                "encodingFormat": _FORMATS.get(Path(path).suffix, "application/octet-stream"),
                "sha256": _sha256(blobs, file.digest),
            }
        )
        if Path(path).suffix in (".csv", ".parquet"):
            tables.append(_records(blobs, path, file.digest))
    told = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": version.name,
        "conformsTo": CONFORMS_TO,
        "description": description or f"Version {version.digest} of {version.name}.",
        "datePublished": version.created_at.isoformat(),
        "version": version.digest[:12],
        "distribution": files,
        "recordSet": [records for records in tables if records],
    }
    return told | ({"license": licence} if licence else {})


def _records(blobs: Blobs, path: str, digest: str) -> dict[str, Any] | None:
    """The columns of a table; none where it cannot be read as one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"table{Path(path).suffix}")
        blobs.fetch(digest, file)
        try:
            columns = read_table(
                file, lambda rows: list(zip(rows.columns, map(str, rows.types), strict=True))
            )
        except Invalid:
            return None
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{path}/{name}",
            "name": name,
            "dataType": _kind(kind),
            "source": {"fileObject": {"@id": path}, "extract": {"column": name}},
        }
        for name, kind in columns or ()
    ]
    name = f"records of {path}"
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _kind(kind: str) -> str:
    for beginnings, told in _KINDS:
        if kind.startswith(beginnings):
            return told
    return "sc:Text"


def _sha256(blobs: Blobs, digest: str) -> str:
    hasher = hashlib.sha256()
    for portion in portions_of(blobs, digest):
        hasher.update(portion)
    return hasher.hexdigest()
