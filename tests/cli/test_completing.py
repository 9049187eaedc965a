"""A trained project is read, and its names are completed by the shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import treadle
from tests.cli.test_daily import answer
from tests.cli.test_help import completed


def test_models_and_data_of_a_trained_project(shop: Path) -> None:
    assert "shop:1" not in treadle(shop, "models").stdout
    (first, *_) = answer(shop, "models", "shop")[-1:]
    assert first["number"] == 1
    line = next(
        line.split()
        for line in treadle(shop, "models", "shop").stdout.splitlines()
        if line.startswith("shop:1")
    )
    assert "passed" in line
    (dataset,) = answer(shop, "data")
    told = treadle(shop, "data", dataset["name"]).stdout
    assert f"{dataset['name']}@{dataset['digest'][:12]}" in told
    assert "shop:1" in told
    rows = len((shop / "data" / "customers.csv").read_text().splitlines()) - 1
    assert f" {rows} " in told
    ended = treadle(shop, "data", "rwos")
    assert ended.stderr == "treadle: Project 'shop' has no dataset 'rwos'. Did you mean 'rows'?\n"


def test_names_of_what_is_there_are_completed(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    run = answer(shop, "runs")[0]["id"]
    for line, offered in (
        ("treadle runs show run_", run),
        ("treadle runs ", "show"),
        ("treadle runs --wh", "--where"),
        ("treadle models s", "shop"),
        ("treadle data ", "rows"),
        ("treadle data ver", "versions"),
        ("treadle approve shop", "shop:1"),
        ("treadle tracking get --run run_", run),
    ):
        assert offered in completed(line, shop).split(), line


def test_completion_where_nothing_is_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed("treadle runs show x", tmp_path).strip() == ""


def test_no_colour_leaves_a_terminal(shop: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "treadle", "runs"], cwd=shop, capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
