"""What steps return is stored as data, never as code, and comes back as it was."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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
    "value",
    [
        object(),
        pd.Series([1]),
        lambda: 1,
        {"deep": [object()]},
        [np.zeros(2)],
        np.datetime64("2026"),
    ],
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


arrays = hnp.arrays(
    dtype=st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(),
        hnp.floating_dtypes(),
        hnp.datetime64_dtypes(),
        hnp.unicode_string_dtypes(max_len=4),
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@settings(max_examples=40, deadline=None)
@given(value=arrays | st.dictionaries(st.text(max_size=6), arrays, min_size=1, max_size=3))
def test_arrays_come_back_as_they_were(
    blobs: Disk, tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    found = there_and_back(blobs, tmp_path_factory.mktemp("out"), value)
    both = value if isinstance(value, dict) else {"": value}
    found = found if isinstance(value, dict) else {"": found}
    assert list(found) == list(both)
    for name, array in both.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_equal_arrays_are_one_content(blobs: Disk) -> None:
    first, second = (stored(blobs, np.arange(5), SklearnExporter(), OnnxRuntime()) for _ in "12")
    assert first == second


def test_numbers_of_numpy_are_numbers(blobs: Disk, tmp_path: Path) -> None:
    value = {"n": np.int64(3), "rate": np.float32(0.5), "yes": [np.bool_(True), (np.str_("a"),)]}
    assert there_and_back(blobs, tmp_path, value) == {"n": 3, "rate": 0.5, "yes": [True, ["a"]]}


def test_files_and_folders_come_back_under_their_names(blobs: Disk, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "shards"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "deep" / "b.bin").write_bytes(b"b")
    file = there_and_back(blobs, tmp_path / "file", folder / "a.bin")
    assert (file.name, file.read_bytes()) == ("a.bin", b"a")
    found = there_and_back(blobs, tmp_path / "folder", folder)
    assert found.name == "shards" and (found / "deep" / "b.bin").read_bytes() == b"b"


@pytest.mark.parametrize(
    "made, says",
    [
        ("nothing", "there is no such file or folder"),
        ("empty", "has no files"),
        ("hidden", r"'hidden/\.secret', which is hidden"),
    ],
)
def test_files_that_cannot_be_kept_whole_are_refused(
    blobs: Disk, tmp_path: Path, made: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".secret").write_text("x")
    with pytest.raises(Invalid, match=says):
        stored(blobs, tmp_path / made, SklearnExporter(), OnnxRuntime())


def test_an_array_of_objects_is_refused(blobs: Disk) -> None:
    with pytest.raises(Invalid, match="array 'x' of Python objects, which cannot be stored"):
        stored(blobs, {"x": np.array([object()])}, SklearnExporter(), OnnxRuntime())


def test_an_array_with_a_mask_is_refused(blobs: Disk) -> None:
    with pytest.raises(Invalid, match="with a mask, which would be lost"):
        stored(blobs, np.ma.array([1, 2], mask=[False, True]), SklearnExporter(), OnnxRuntime())


@pytest.mark.parametrize("made", [".", "output", "output/files"])
def test_the_folder_in_which_a_step_runs_is_no_output(
    tmp_path: Path, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "output"
    (into / "files").mkdir(parents=True)
    (into / "files" / "x").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid, match="in which it runs"):
        output.save(into, Path(made), SklearnExporter(), OnnxRuntime())


def test_types_are_read_without_none(blobs: Disk, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1]})
    file = there_and_back(blobs, tmp_path, frame, Path | None)
    assert isinstance(file, Path) and file.name == TABLE
