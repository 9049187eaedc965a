"""What steps return is stored as data, never as code, and comes back as it was."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.backends.blobs.disk import Disk
from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.errors import Invalid
from treadle.pipelines import output
from treadle.pipelines.model import OutputKind
from treadle.pipelines.output import TABLE, Packaged
from treadle.ports.runtime import Exporter, Runtime
from treadle.ports.tree import fetch_tree, put_tree, read_tree


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return Disk(f"file://{tmp_path_factory.mktemp('blobs')}")


def stored(blobs: Disk, value: Any, exporter: Exporter, runtime: Runtime) -> tuple[str, OutputKind]:
    with TemporaryDirectory() as folder:
        kind = output.save(Path(folder), value, exporter, runtime)
        return put_tree(blobs, Path(folder)), kind


def there_and_back(blobs: Disk, folder: Path, value: Any, wanted: Any = None) -> Any:
    digest, kind = stored(blobs, value, SklearnExporter(), OnnxRuntime())
    return output.load(fetch_tree(blobs, digest, folder / digest), kind, wanted)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # lone surrogates are no text
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(value=json_values)
def test_a_value_comes_back_as_it_was(
    blobs: Disk, tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    assert there_and_back(blobs, tmp_path_factory.mktemp("out"), value) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"auc": float("-inf")}])
def test_a_number_that_json_cannot_hold_is_refused_and_not_turned_into_nothing(
    blobs: Disk, value: object
) -> None:
    with pytest.raises(Invalid, match="cannot be stored"):
        stored(blobs, value, SklearnExporter(), OnnxRuntime())


@pytest.mark.parametrize(
    "value", [object(), np.zeros(2), pd.Series([1]), lambda: 1, {"deep": [object()]}]
)
def test_what_cannot_be_stored_is_named_with_what_can(blobs: Disk, value: object) -> None:
    name = type(value).__name__
    with pytest.raises(
        Invalid, match=rf"returned a {name}, which cannot be stored\. Return a frame"
    ):
        stored(blobs, value, SklearnExporter(), OnnxRuntime())


def test_a_frame_comes_back_with_its_rows_in_order(blobs: Disk, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"n": range(50_000), "t": ["é", None] * 25_000, "x": [0.5, np.nan] * 25_000}
    )
    back = there_and_back(blobs, tmp_path, frame, pd.DataFrame)
    assert back["n"].tolist() == list(range(50_000))
    assert back["t"].isna().sum() == back["x"].isna().sum() == 25_000


def test_a_frame_can_be_asked_for_as_its_file(blobs: Disk, tmp_path: Path) -> None:
    file = there_and_back(blobs, tmp_path, pd.DataFrame({"a": [1]}), Path)
    assert file.name == TABLE
    assert file.is_file()


def test_equal_frames_are_one_tree(blobs: Disk) -> None:
    frames = (pd.DataFrame({"a": range(100)}) for _ in range(2))
    assert len({stored(blobs, frame, SklearnExporter(), OnnxRuntime()) for frame in frames}) == 1


def test_a_package_that_fails_to_save_stores_nothing(tmp_path: Path) -> None:
    class Broken(Packaged):
        def save(self, folder: Path, exporter: Any, runtime: Any) -> None:
            (folder / "half").write_text("half")
            raise RuntimeError("half-way")

    fresh = Disk(f"file://{tmp_path / 'fresh'}")
    with pytest.raises(RuntimeError, match="half-way"):
        stored(fresh, Broken(), SklearnExporter(), OnnxRuntime())
    assert list(fresh.digests()) == []


def test_a_value_is_one_readable_file(blobs: Disk) -> None:
    digest, kind = stored(blobs, {"b": 1, "a": 2}, SklearnExporter(), OnnxRuntime())
    (file,) = read_tree(blobs, digest).files.values()
    assert (kind, blobs.get(file.digest)) == ("value", b'{"a":2,"b":1}')
