"""Rows of a person are found by their values, and files keep every other byte."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.data.erasing.bytes_search import may_have
from treadle.data.erasing.sealing import fingerprint, is_of, opened, seal
from treadle.data.erasing.subject import Subject, checked, number_in, parsed
from treadle.data.erasing.table_rows import ELSEWHERE, LARGE_BYTES, look_into, redact
from treadle.kernel.errors import Corrupt, Invalid
from treadle.kernel.keys import KEY_BYTES, Keys, key_of

KEYS = Keys(keys=[key_of(bytes(range(KEY_BYTES)))])

CASES = {
    "numbers as numbers": ("a.csv", "id=7", b"id,x\n7,a\n7.0,b\n007,c\n8,d", b"id,x\n007,c\n8,d"),
    "a semicolon, in any case": ("a.csv", "ID=2", b"id;x\r\n1;a\r\n2;b\r\n", b"id;x\r\n1;a\r\n"),
    "a row of two lines": ("a.csv", "id=1", b'id,x\n1,"a\nb"\n2,c\n', b"id,x\n2,c\n"),
    "a byte order mark": (
        "a.csv",
        "n=\u00e4",
        "\ufeffn\n\u00e4\nb\n".encode(),
        b"\xef\xbb\xbfn\nb\n",
    ),
    "a blank line first": ("a.csv", "id=7", b"\nid,n\n7,a\n8,b\n", b"\nid,n\n8,b\n"),
    "commas in a header of tabs": ("a.tsv", "id=7", b"id\tl, f, m\n7\tx\n", b"id\tl, f, m\n"),
    "the same in a .csv": ("a.csv", "id=7", b"id\tl, f, m\n7\tx\n", b"id\tl, f, m\n"),
    "commas in quotes": ("a.csv", "id=7", b'"n, f, x";id\nA;7\n', b'"n, f, x";id\n'),
    "a code is no number": ("a.csv", "c=5E3", b"c\n5E3\n5000\n5e3\n", b"c\n5000\n5e3\n"),
    "latin-1 stays": ("a.csv", "id=1", b"id,x\n1,a\n2,\xe4\n", b"id,x\n2,\xe4\n"),
    "a path": ("a.jsonl", "a.id=3", b'{"a":{"id":3}}\n{"id":3}\n', b'{"id":3}\n'),
    "an entry within": ("a.jsonl", "id=3", b'{"r":[{"id":3},{"id":4}]}\n', b'{"r": [{"id": 4}]}\n'),
    "entries of a list": ("a.json", "id=3", b'[{"id":3},{"id":4}]', b'[{"id": 4}]'),
    "by columns": ("a.json", "id=3", b'{"id":[3,4],"x":[1,2]}', b'{"id": [4], "x": [2]}'),
    "by columns, with other things": (
        "a.json",
        "id=3",
        b'{"id":[3,4],"n":["a","b"],"version":1}',
        b'{"id": [4], "n": ["b"], "version": 1}',
    ),
    "lists of a record are no table": (
        "a.jsonl",
        "mail=a@x",
        b'{"n":"Ada","mail":["a@x","b@x"],"tel":["1","2"]}\n{"n":"Bob","mail":[]}\n',
        b'{"n":"Bob","mail":[]}\n',
    ),
    "by an index of texts": (
        "a.json",
        "id=3",
        b'{"id":{"a":3,"b":4},"x":{"a":1,"b":2}}',
        b'{"id": {"b": 4}, "x": {"b": 2}}',
    ),
    "a path between alike objects": (
        "a.jsonl",
        "billing.id=7",
        b'{"billing":{"id":7},"shipping":{"id":8}}\n{"billing":{"id":8},"shipping":{"id":7}}\n',
        b'{"billing":{"id":8},"shipping":{"id":7}}\n',
    ),
    "people by their number": (
        "a.json",
        "mail=a@x",
        b'{"people":{"1":{"mail":"a@x"},"2":{"mail":"b@x"}}}',
        b'{"people": {"2": {"mail": "b@x"}}}',
    ),
    "a record's own key": (
        "a.jsonl",
        "id=7",
        b'{"id":7,"orders":[{"id":1}]}\n{"id":1,"orders":[{"id":7}],"product":{"id":7}}\n',
        b'{"id":1,"orders":[{"id":7}],"product":{"id":7}}\n',
    ),
    "lines named .json": ("a.json", "id=7", b'{"id":7}\n{"id":8}\n', b'{"id":8}\n'),
    "others' digits": (
        "a.json",
        "id=7",
        b'[{"id":7.0},{"f":0.12345678901234567890,"g":1E+400}]',
        b'[{"f": 0.12345678901234567890, "g": 1E+400}]',
    ),
    "split": (
        "a.json",
        "id=3",
        b'{"columns":["id"],"data":[[3],[4]]}',
        b'{"columns": ["id"], "data": [[4]]}',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_go_and_the_rest_stays(case: str, tmp_path: Path) -> None:
    name, subject, before, after = CASES[case]
    file, to, who = tmp_path / name, tmp_path / "to", checked([parsed(subject)])
    file.write_bytes(before)
    found = look_into(file, name, who)
    assert found.rows >= 1 and not found.unread
    assert redact(file, name, who, to) == found.rows
    assert to.read_bytes() == after
    assert look_into(to, name, who).rows == 0


def test_a_compressed_file_stays_compressed(tmp_path: Path) -> None:
    file, to, who = tmp_path / "a", tmp_path / "to", checked([parsed("id=3")])
    file.write_bytes(gzip.compress(b"id\n3\n4\n"))
    assert redact(file, "a.csv.gz", who, to) == look_into(file, "a.csv.gz", who).rows == 1
    assert gzip.decompress(to.read_bytes()) == b"id\n4\n"


def test_what_is_left_is_told_of(tmp_path: Path) -> None:
    file, who = tmp_path / "a", checked([parsed("email=ada@x.example")])
    file.write_bytes(b"a pickle of ada@x.example")
    assert look_into(file, "model.pkl", who).has_text
    file.write_bytes(b"name,referred_by\nbob,ada@x.example\n")
    assert look_into(file, "a.csv", who)[:3] == (
        0,
        "the value is in it, and not in that column",
        True,
    )
    file.write_bytes("email\nada@x.example\n".encode("utf-16"))
    assert "cannot be read" in look_into(file, "a.csv", who).unread
    file.write_bytes(b"{")
    assert "no JSON" in look_into(file, "a.json", who).unread
    file.write_bytes(b'{"email":"ada@x.example"}')
    assert look_into(file, "a.json", who).whole
    redact(file, "a.json", who, tmp_path / "to")
    assert json.loads((tmp_path / "to").read_bytes()) == {}


def test_damaged_files_and_values_deeper_within_are_reported(tmp_path: Path) -> None:
    file, who = tmp_path / "a", checked([parsed("id=7")])
    damaged = bytearray(gzip.compress(bytes(range(256)) * 50))
    damaged[15:60] = b"\xff" * 45
    file.write_bytes(damaged)
    assert "cannot be read" in look_into(file, "a.csv.gz", who).unread
    file.write_bytes(b"[" * 900 + b'{"id":7}' + b"]" * 900)
    assert "cannot be read" in look_into(file, "a.json", who).unread
    for quotes in (b'id,n\n1,"x\n7,Ada\n', b'id,n\n1,"x\n7,Ada\n8,"Bob"\n'):
        file.write_bytes(quotes)
        assert "a quote in it is not closed" in look_into(file, "a.csv", who).unread
    file.write_bytes(b'{"id":7,"id":8}')
    assert "a name twice" in look_into(file, "a.json", who).unread
    file.write_bytes(b'{"id":1,"product":{"id":7}}\n')
    assert look_into(file, "a.jsonl", who) == (0, ELSEWHERE, True, False)


@pytest.mark.parametrize(
    ("header", "last", "subject"),
    [
        ("id,name,p", b'"777","ada","z"', "id=777.0"),
        ("id,name,p", b"+777.00,ada,z", "id=777"),
        ("id,name,p", b'7,"A ""x"" B",z', 'name=A "x" B'),
        ("id,name,p", b'7,"A"da,z', "name=Ada"),
        ("id,name,p", b'7,"A\nB",z', "name=A\nB"),
        ("id,Name,p", b"7,'ada',z", "name='ada'"),
        ("name,Name,p", b"7,ada,z", "name=ada"),
    ],
)
def test_a_large_csv_file_is_searched_first(
    tmp_path: Path, header: str, last: bytes, subject: str
) -> None:
    file, to, who = tmp_path / "a.csv", tmp_path / "to", checked([parsed(subject)])
    rest = header.encode() + b"\n" + b"1000,xxxx,padding-0.777-7770\n" * (LARGE_BYTES // 28)
    file.write_bytes(rest)
    assert not may_have(file, who, is_json=False)
    file.write_bytes(rest + last + b"\n")
    assert look_into(file, "a.csv", who).rows == redact(file, "a.csv", who, to) == 1
    assert to.read_bytes() == rest


VALUES = st.sampled_from([7, 7.0, 70, -7, 0.5, 1.5e3, "7", "a", "\u00e4", 'a"b', "a/b", True])


@given(value=VALUES, wanted=VALUES, escaped=st.booleans())
def test_the_search_of_json_misses_nothing(
    tmp_path_factory: pytest.TempPathFactory, value: object, wanted: object, escaped: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps([{"k": value}], ensure_ascii=escaped), encoding="utf-8")
    who = checked([Subject(key="k", value=str(wanted))])
    assert look_into(file, "any.json", who).rows <= may_have(file, who, is_json=True)


CELLS = st.text(st.sampled_from('a7,;"\n\r ä'), max_size=4)


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6), wanted=CELLS.filter(bool))
def test_any_csv_keeps_the_other_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], wanted: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file, to = folder / "any.csv", folder / "any.out"
    quoted = [
        '"k","v"\n',
        *(f'"{k.replace(chr(34), chr(34) * 2)}","{v}"\n' for k, v in clean(rows)),
    ]
    file.write_text("".join(quoted), encoding="utf-8", newline="")
    who = checked([Subject(key="k", value=wanted)])
    removed = redact(file, "any.csv", who, to)
    number = number_in(wanted)
    kept = [
        line
        for line, (k, _) in zip(quoted[1:], clean(rows), strict=True)
        if k != wanted and (number is None or number_in(k.strip()) != number)
    ]
    assert to.read_bytes() == "".join([quoted[0], *kept]).encode()
    assert removed == len(rows) - len(kept)


def clean(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rows whose second cell needs no quotes within."""
    return [(key, value.replace('"', "")) for key, value in rows]


def test_whose_rows_are_meant_is_said() -> None:
    assert parsed("a=b=c") == Subject(key="a", value="b=c")
    for bad in ([], [Subject(key="", value="x")], [Subject(key="x", value="")]):
        with pytest.raises(Invalid, match="KEY=VALUE"):
            checked(bad)
    for wrong in ("abcd\0efg", "abcd\ud800efg"):
        with pytest.raises(Invalid, match="no NUL and no half"):
            checked([Subject(key="x", value=wrong)])
    with pytest.raises(Invalid, match="names nobody"):
        parsed("ada")


def test_a_subject_is_sealed_and_known_again() -> None:
    who = Subject(key="email", value="ada@x.example")
    sealed = seal(KEYS, [who])
    assert "ada" not in bytes.fromhex(sealed.partition(":")[2]).decode("latin-1")
    assert opened(KEYS, sealed) == [who]
    with pytest.raises(Corrupt):
        opened(KEYS, sealed[:-1] + ("0" if sealed[-1] != "0" else "1"))
    print_ = fingerprint(KEYS, "e1", who)
    assert is_of(KEYS, "e1", who, print_)
    assert not is_of(KEYS, "e2", who, print_)
    assert not is_of(KEYS, "e1", Subject(key="email", value="bob"), print_)
