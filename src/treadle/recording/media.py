"""Encodes figures, images, sounds and tables in the format that a file's suffix names."""

import io
import tempfile
import wave
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from treadle.data import frames
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, missing_extra
from treadle.kernel.escaping import one_file


def figure(value: Any, suffix: str) -> bytes:
    """Encode a figure.

    Args:
        value: Figure of matplotlib or plotly.
        suffix: For matplotlib a format that it can save, such as ``.png``; for plotly ``.html`` or
            ``.json``.

    Returns:
        Content of the file.

    Raises:
        Invalid: The figure cannot be encoded in that format.
    """
    buffer = io.BytesIO()
    if hasattr(value, "savefig"):
        value.savefig(buffer, format=suffix.lstrip(".") or "png", bbox_inches="tight")
        return buffer.getvalue()
    if hasattr(value, "to_html") and suffix == ".html":
        return str(value.to_html(include_plotlyjs=True)).encode()
    if hasattr(value, "to_json") and suffix == ".json":
        return str(value.to_json()).encode()
    raise Invalid(
        f"A {type(value).__name__} cannot be kept as '{suffix}'. "
        "Figures of matplotlib go to .png, .svg or .pdf, those of plotly to .html or .json."
    )


def image(value: Any, suffix: str) -> bytes:
    """Encode an image. Needs the extra ``media``.

    Args:
        value: Pillow image, or array of shape (height, width) or (height, width, channels) with 1,
            3 or 4 channels: whole numbers from 0 to 255, or floats from 0 to 1.
        suffix: Format, such as ``.png`` or ``.jpg``; PNG if empty.

    Returns:
        Content of the file.

    Raises:
        Invalid: The shape is wrong, the format is unknown, or the extra is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("media", "Keeping images") from error
    is_picture = isinstance(value, Image.Image)
    picture = value if is_picture else Image.fromarray(_pixels(np.asarray(value)))
    file_format = Image.registered_extensions().get(suffix or ".png", suffix)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=file_format)
    except (KeyError, OSError) as error:
        message = f"An image cannot be kept as '{suffix}': {error}. Use .png or .jpg."
        raise Invalid(message) from error
    return buffer.getvalue()


def audio(samples: Any, rate: int) -> bytes:
    """Encode sound as a WAV file of 16 bits.

    Args:
        samples: Array of shape (frames,) or (frames, channels): floats from -1 to 1, or 16-bit
            integers.
        rate: Sampling rate in Hz.

    Returns:
        Content of the file.

    Raises:
        Invalid: The shape is wrong or there are no samples.
    """
    values = np.asarray(samples)
    if values.ndim not in (1, 2) or not values.size:
        raise Invalid(f"Sound has samples of (frames,) or (frames, channels), not {values.shape}.")
    if values.dtype.kind == "f":
        values = np.rint(np.clip(values, -1, 1) * 32_767)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1 if values.ndim == 1 else values.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(values.astype("<i2").tobytes())
    return buffer.getvalue()


def table(value: Any, suffix: str) -> bytes:
    """Encode a table.

    Args:
        value: A frame, a list of dicts, or a dict of lists.
        suffix: ``.parquet``, or ``.json`` for an object of ``columns`` and ``data``, which MLflow
            shows.

    Returns:
        Content of the file.

    Raises:
        Invalid: The format is unknown or the value is not a table.
    """
    if suffix not in (".parquet", ".json"):
        raise Invalid(f"A table cannot be kept as '{suffix}'. Use .parquet or .json.")
    if suffix == ".json" and not frames.is_frame(value):
        columns, rows = _rows(value)
        return to_json({"columns": columns, "data": rows})
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "table.parquet")
        frames.write(value if frames.is_frame(value) else _relation(value, Path(name)), file)
        if suffix == ".parquet":
            return file.read_bytes()
        relation = duckdb.read_parquet(one_file(file))
        rows = [list(row) for row in relation.fetchall()]
        return to_json({"columns": relation.columns, "data": rows})


def _pixels(values: Any) -> Any:
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.dtype.kind == "f":
        values = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255)
    values = np.clip(values, 0, 255).astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise Invalid(
            "An image has pixels of (height, width) or (height, width, 1, 3 or 4), "
            f"not {values.shape}."
        )
    return values


def _rows(value: Any) -> tuple[list[str], list[list[Any]]]:
    if isinstance(value, dict):
        columns = list(value)
        return columns, [list(row) for row in zip(*value.values(), strict=True)]
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        columns = list({key: None for row in value for key in row})
        return columns, [[row.get(column) for column in columns] for row in value]
    raise Invalid(
        f"A {type(value).__name__} is no table. Give a frame, a list of dicts or a dict of lists."
    )


def _relation(value: Any, folder: Path) -> Any:
    columns, data = _rows(value)
    file = folder / "rows.json"
    file.write_bytes(to_json([dict(zip(columns, row, strict=True)) for row in data]))
    return duckdb.read_json(one_file(file))
