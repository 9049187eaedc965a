"""Requests in every accepted shape become the same rows; others are refused with a reason."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.scripted import SIGNATURE_OF_THREE
from treadle.kernel.errors import Invalid, TooLarge, TreadleError
from treadle.ports.runtime import Field, Signature
from treadle.serving import open_inference
from treadle.serving.input_adapter import InputAdapter
from treadle.serving.row_reader import MAX_ROWS, RowReader
from treadle.serving.rows import Rows
from treadle.serving.tensors import KINDS

reader = RowReader(SIGNATURE_OF_THREE)
NAMES = ["colour", "size", "weight"]
RECORD: dict[str, Any] = {"colour": "red", "size": 1.0, "weight": 2.0}
Table = list[dict[str, Any]]

number = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)
colour = st.none() | st.text(max_size=5).filter(lambda text: text != "")
tables = st.lists(
    st.fixed_dictionaries({"colour": colour, "size": number, "weight": number}),
    min_size=1,
    max_size=5,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


def scoring(**body: Any) -> Table:
    return plain(reader.scoring(json.dumps(body).encode())[0])


def v2(*inputs: dict[str, Any], **more: Any) -> Table:
    return plain(
        open_inference.read(reader, json.dumps({"inputs": inputs, **more}).encode(), None).rows
    )


def tensor(name: str, data: list[Any], **changes: Any) -> dict[str, Any]:
    kind = "BYTES" if name == "colour" else "FP64"
    return {"name": name, "shape": [len(data)], "datatype": kind, "data": data} | changes


def plain(rows: Rows, by: RowReader = reader) -> Table:
    """Rows as objects, with None for what is missing."""
    names = [field.name for field in by.fields]
    numbers = [
        [None if value != value else value for value in row] for row in rows.numbers.tolist()
    ]
    made = [
        dict(zip(by.layout.numbers, n, strict=True)) | dict(zip(by.layout.texts, t, strict=True))
        for n, t in zip(numbers, rows.texts.tolist(), strict=True)
    ]
    return [{name: row[name] for name in names if name not in rows.lacks} for row in made]


def tensors(content: bytes) -> Any:
    return open_inference.read(reader, content, None)


def columns_of(table: Table) -> dict[str, list[Any]]:
    return {name: [row[name] for row in table] for name in NAMES}


@given(tables)
def test_all_mlflow_forms_give_the_same_rows(table: Table) -> None:
    lists = [[row[name] for name in NAMES] for row in table]
    assert scoring(dataframe_records=table) == table
    assert scoring(dataframe_split={"columns": NAMES, "data": lists}) == table
    assert scoring(instances=table) == table
    assert scoring(instances=lists) == table
    assert scoring(inputs=table) == table
    assert scoring(inputs=columns_of(table)) == table


@given(tables)
def test_open_inference_tensors_give_the_same_rows(table: Table) -> None:
    columns = columns_of(table)
    assert v2(*(tensor(name, columns[name]) for name in NAMES)) == table
    nested = [
        tensor(name, [[value] for value in columns[name]], shape=[len(table), 1]) for name in NAMES
    ]
    assert v2(*nested) == table


def test_split_columns_may_come_in_any_order() -> None:
    assert scoring(
        dataframe_split={"columns": ["weight", "colour", "size"], "data": [[2, "red", 1]]}
    ) == [RECORD]


def test_csv_gives_the_same_rows_and_empty_cells_are_null() -> None:
    rows = plain(reader.csv(b'size,colour,weight\r\n1,red,2\r\n,"",\r\n3,"a ""b"", c",-1e-3\r\n'))
    assert rows == [
        RECORD,
        {"colour": None, "size": None, "weight": None},
        {"colour": 'a "b", c', "size": 3.0, "weight": -0.001},
    ]


def test_text_that_looks_like_a_number_or_null_stays_text_in_csv() -> None:
    rows = plain(reader.csv(b"colour,size,weight\n12,1,2\nnull,1,2\ntrue,1,2\n"))
    assert [row["colour"] for row in rows] == ["12", "null", "true"]


def test_the_body_id_is_given_back() -> None:
    body = json.dumps({"id": "r1", "instances": [RECORD]}).encode()
    assert reader.scoring(body)[1] == "r1"
    sent = [tensor(name, [RECORD[name]]) for name in NAMES]
    content = json.dumps({"id": "r2", "inputs": sent}).encode()
    assert open_inference.read(reader, content, None).id == "r2"


def test_columns_are_what_a_model_takes() -> None:
    rows = reader.scoring(json.dumps({"instances": [["red", 1, None], [None, 2.5, 3]]}).encode())[0]
    columns = InputAdapter(reader, reader.signature)(rows)
    assert columns["colour"].tolist() == ["red", ""]
    assert columns["size"].dtype == columns["weight"].dtype == np.float32
    assert np.isnan(columns["weight"][0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Send exactly one of dataframe_records, dataframe_split, instances, inputs; "
             "this request has none"),
        ({"instances": [], "inputs": []}, "this request has instances and inputs"),
        ({"dataframe_records": [], "dataframe_split": {"columns": [], "data": []}}, "exactly one"),
        ({"dataframe_records": [RECORD], "inputs": [RECORD]},
         "this request has dataframe_records and inputs"),
        ({"instance": []}, "Unknown field 'instance'. Did you mean 'instances'"),
        ({"dataframe_records": [RECORD, {**RECORD, "size": "x"}]},
         r"Field 'dataframe_records\[1\].size': Expected `float"),
        ({"instances": [{"color": "red", "size": 1, "weight": 2}]},
         r"Unknown field .*color'. Did you mean 'colour'"),
        ({"instances": [RECORD, {"colour": "red", "size": 1}]},
         r"Field '.*\[1\].weight' is missing"),
        ({"instances": [["red", 1]]}, "a list of 3 values"),
        ({"instances": [5]}, "a list of 3 values"),
        ({"inputs": 5}, "Rows must be a list"),
        ({"inputs": {"colour": 5, "size": 5, "weight": 5}}, "colour"),
        ({"inputs": {"colour": "ab", "size": [1, 2], "weight": [1, 2]}}, "colour"),
        ({"inputs": {"colour": ["a"], "size": [1, 2], "weight": [1]}}, "(?i)different|rows"),
        ({"dataframe_split": {"columns": NAMES, "data": [["red", 1, 2], ["red", 1]]}},
         "weight|3 values"),
        ({"dataframe_split": {"columns": NAMES, "data": [["red", 1, 2, 3]]}}, "3"),
        ({"dataframe_split": {"columns": [*NAMES, "size"], "data": [["red", 1, 2, 3]]}}, "size"),
        ({"instances": [["red", True, 2]]}, "size.*bool"),
        ({"params": 5, "instances": []}, "Field 'params'"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_malformed_request_is_told_what_is_wrong(body: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        scoring(**body)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "(?i)missing|no input"),
        ([tensor("sise", [1])], "no input 'sise'. Did you mean 'size'"),
        ([tensor("colour", ["a"]), tensor("size", [1])], "weight' is missing"),
        ([tensor("colour", ["a"]), tensor("size", [1, 2]), tensor("weight", [1])],
         r"different numbers of rows: \[1, 2\]"),
        ([tensor("size", [1], datatype="FP8")], "datatype 'FP8', which is not known"),
        ([tensor("size", [1], shape=[2])], r"shape \[2\] and 1 values; wanted is \[rows\]"),
        ([tensor("size", [1, 2], shape=[1, 2])], r"shape \[1, 2\]"),
        ([tensor(n, [v]) for n, v in RECORD.items()] + [tensor("size", [9])],
         "size.*(twice|once|more)"),
    ],
)  # fmt: skip
def test_malformed_tensors_are_told_what_is_wrong(
    inputs: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        v2(*inputs)


def test_a_boolean_tensor_is_taken_for_a_number() -> None:
    tensors = [
        tensor("colour", ["red"]),
        tensor("size", [True], datatype="BOOL"),
        tensor("weight", [2]),
    ]
    assert v2(*tensors) == [RECORD]


def test_an_error_stays_short_whatever_was_sent() -> None:
    with pytest.raises(Invalid) as caught:
        v2(tensor("size", [1], shape=[2] * 5000))
    assert len(caught.value.message) < 1000
    with pytest.raises(Invalid) as caught:
        scoring(instances=[RECORD | {"x" * 100_000: 1}])
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("rows", ["colour,size,weight\nred,1,2,3\n", "colour,size,weight\nred,1\n"])
def test_a_csv_line_of_another_length_is_refused_by_its_number(rows: str) -> None:
    with pytest.raises(Invalid, match=r"(?i)(line|row) \d"):
        reader.csv(rows.encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not CSV text in UTF-8"),
        (b"colour,size,weight\nred,one,2\n", "size"),
        (b"color,size,weight\nred,1,2\n", "color'. Did you mean 'colour'"),
        (b"colour,size,size,weight\nred,1,2,3\n", "size"),
    ],
)
def test_malformed_csv_is_told_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        reader.csv(content)


def test_csv_as_spreadsheets_save_it_is_read() -> None:
    assert plain(reader.csv("\ufeffcolour,size,weight\r\nred,1,2\r\n".encode())) == [RECORD]


def test_too_many_rows_are_refused_with_the_limit() -> None:
    row = ["red", 1, 2]
    assert len(scoring(instances=[row] * MAX_ROWS)) == MAX_ROWS
    too_many = [RECORD] * (MAX_ROWS + 1)
    for body in (
        {"instances": too_many},
        {"dataframe_records": too_many},
        {"inputs": columns_of(too_many)},
    ):
        with pytest.raises(TooLarge, match=r"10001 rows; at most 10000 are taken\. Send several"):
            scoring(**body)
    with pytest.raises(TooLarge):
        reader.csv(b"colour,size,weight\n" + b"red,1,2\n" * (MAX_ROWS + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b'{"instances":[["\xff",1,2]]}',
        b'{"dataframe_records":[{"colour":"\xff","size":1,"weight":2}]}',
        b'{"instances":[["\\ud800",1,2]]}',
        b'{"instances":[["a",1' + b"0" * 400 + b",2]]}",
        b'{"instances":[["a",1e400,2]]}',
        b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs":[{"name":"size","shape":[1],"datatype":"FP32","data":'
        + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
    ids=["empty", "null", "not utf-8", "not utf-8 record", "half a pair", "huge int", "huge float",
         "deep", "deep v2"],
)  # fmt: skip
def test_what_is_no_proper_json_is_refused_politely(content: bytes) -> None:
    for read in (reader.scoring, tensors):
        with pytest.raises(Invalid, match=r"\w+"):
            read(content)


def only_treadle_errors(content: bytes) -> None:
    for read in (reader.scoring, tensors, reader.csv):
        try:
            read(content)
        except TreadleError as error:
            assert error.status in (400, 413)
            assert error.message


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    only_treadle_errors(content)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["dataframe_records", "dataframe_split", "instances", "inputs", "id"]),
        anything,
    )
)
def test_arbitrary_json_is_read_or_refused(body: dict[str, Any]) -> None:
    only_treadle_errors(json.dumps(body).encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(st.lists(st.fixed_dictionaries({
    "name": st.sampled_from(NAMES), "shape": st.lists(st.integers(-3, 4), max_size=3),
    "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "x"]), "data": anything,
}), max_size=4))  # fmt: skip
def test_arbitrary_tensors_are_read_or_refused(inputs: list[Any]) -> None:
    only_treadle_errors(json.dumps({"inputs": inputs}).encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(st.text(alphabet='colursizewght,\n\r"12.eE+-\x00 é', max_size=60))
def test_arbitrary_csv_is_read_or_refused(text: str) -> None:
    only_treadle_errors(b"colour,size,weight\n" + text.encode())


def test_column_names_may_be_anything() -> None:
    odd = ["f1", "f0", "a b", "class", "é", ""]
    made = RowReader(
        Signature(inputs=[Field(name=name, kind="number") for name in odd], output="value")
    )
    rows, _ = made.scoring(json.dumps({"instances": [list(range(len(odd)))]}).encode())
    assert plain(rows, made) == [{name: float(place) for place, name in enumerate(odd)}]
    columns = InputAdapter(made, made.signature)(rows)
    assert {name: column.tolist() for name, column in columns.items()} == {
        name: [float(place)] for place, name in enumerate(odd)
    }


def test_one_reader_serves_variants_with_other_inputs() -> None:
    height = Signature(
        inputs=[Field(name="height", kind="number"), Field(name="size", kind="number")],
        output="value",
    )
    both = RowReader(SIGNATURE_OF_THREE, [height])
    old, new = (
        both.scoring(json.dumps({"instances": [row]}).encode())[0]
        for row in (RECORD, RECORD | {"height": 3})
    )
    listed = both.scoring(json.dumps({"instances": [["red", 1, 2]]}).encode())[0]
    taker = InputAdapter(both, height)
    assert taker(new)["height"].tolist() == [3.0]
    assert list(InputAdapter(both, SIGNATURE_OF_THREE)(old)) == ["size", "weight", "colour"]
    assert taker.needs == old.lacks == listed.lacks == {"height"}
    assert not new.lacks
    with pytest.raises(Invalid, match="width"):
        both.scoring(json.dumps({"instances": [RECORD | {"width": 3}]}).encode())


NUMERIC = RowReader(
    Signature(inputs=[Field(name=name, kind="number") for name in "abc"], output="value")
)


def binary(reader: RowReader, *parts: tuple[dict[str, Any], bytes], **more: Any) -> Rows:
    """A request whose tensors are bytes after its JSON."""
    inputs = [{**told, "parameters": {"binary_data_size": len(raw)}} for told, raw in parts]
    text = json.dumps({"inputs": inputs, **more}).encode()
    return open_inference.read(
        reader, text + b"".join(raw for _, raw in parts), str(len(text)).encode()
    ).rows


@given(st.lists(st.tuples(colour, number, number), min_size=1, max_size=5))
def test_tensors_as_bytes_give_the_same_rows(table: list[tuple[Any, Any, Any]]) -> None:
    colours, sizes, weights = zip(*table, strict=True)
    texts = b"".join(
        struct.pack("<I", len(t.encode())) + t.encode() for t in (c or "" for c in colours)
    )
    shape = {"shape": [len(table)]}
    rows = binary(
        reader,
        ({"name": "colour", "datatype": "BYTES", **shape}, texts),
        ({"name": "size", "datatype": "FP32", **shape}, np.array(sizes, dtype="<f4").tobytes()),
        ({"name": "weight", "datatype": "FP64", **shape}, np.array(weights, dtype="<f8").tobytes()),
    )
    wanted = [{"colour": c or "", "size": s, "weight": w} for c, s, w in table]
    assert plain(rows) == wanted


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_type_of_number_is_read_from_bytes(kind: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(KINDS[kind])
    rows = binary(
        NUMERIC, ({"name": "numbers", "datatype": kind, "shape": [2, 3]}, values.tobytes())
    )
    assert rows.numbers.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_a_body_may_be_one_raw_tensor() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    asked = open_inference.read(NUMERIC, values.tobytes(), b"0")
    assert asked.binary
    assert asked.rows.numbers.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("told", "raw", "message"),
    [
        ({"shape": [1, 3], "datatype": "FP32"}, b"\0" * 8, "has shape"),
        ({"shape": [1, 3], "datatype": "FP32"}, b"\0" * 13, "no whole number of FP32"),
        ({"shape": [1, 2], "datatype": "FP32"}, b"\0" * 8, "takes"),
        ({"shape": [2, 3, 1], "datatype": "FP32"}, b"\0" * 24, "shape"),
        ({"shape": [-1, -3], "datatype": "FP32"}, b"\0" * 12, "no tensor can have"),
        (
            {"shape": [1, 3], "datatype": "FP32"},
            np.array([1, np.inf, 1], "<f4").tobytes(),
            "infinity",
        ),
        ({"shape": [1], "datatype": "BYTES"}, b"\1\0\0\0", "ends inside a text"),
        ({"shape": [1], "datatype": "BYTES"}, b"\1\0", "inside the length"),
        ({"shape": [1], "datatype": "BYTES"}, b"\1\0\0\0\xff", "UTF-8"),
    ],
)
def test_malformed_bytes_are_told_what_is_wrong(
    told: dict[str, Any], raw: bytes, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        binary(NUMERIC, ({"name": "numbers", **told}, raw))


@pytest.mark.parametrize("header", [b"-1", b"x", b"1e3", b"9" * 20, b"999"])
def test_a_length_of_the_json_that_cannot_be_is_refused(header: bytes) -> None:
    with pytest.raises(Invalid, match="Inference-Header-Content-Length"):
        open_inference.read(NUMERIC, b"{}", header)


@given(st.binary(max_size=80), st.integers(0, 80))
def test_arbitrary_bytes_after_any_json_are_read_or_refused(raw: bytes, size: int) -> None:
    told = {
        "name": "numbers",
        "shape": [1, 3],
        "datatype": "FP32",
        "parameters": {"binary_data_size": size},
    }
    text = json.dumps({"inputs": [told]}).encode()
    for content, header in (
        (text + raw, str(len(text)).encode()),
        (raw, str(min(size, len(raw))).encode()),
    ):
        try:
            open_inference.read(NUMERIC, content, header)
        except TreadleError as error:
            assert error.status in (400, 413)
