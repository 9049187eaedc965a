"""``treadle.toml``: what is wrong with it, and on which line."""

from pathlib import Path

import pytest

from tests.scope.within import within
from treadle.kernel.errors import Invalid, NotFound
from treadle.scope.file import nearest, parse, read, share

GOOD = """\
[project]
name = "churn"

[data.customers]
source = "customers.csv"
label = "left"

[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.65
"""

# Each text has one mistake; HERE stands on the line that the error must point at.
WRONG = {
    "an unknown task": (
        GOOD.replace('label = "left"', 'label = "left"\ntask = "multiclass"  # HERE'),
        "there is no 'multiclass'. Did you mean 'multi-class'?",
    ),
    "a metric that the task has not": (
        GOOD.replace('label = "left"', 'label = "left"\ntask = "regression"').replace(
            '"roc_auc"', '"roc_auc"  # HERE'
        ),
        "'roc_auc' is no metric of a regression task, but of binary and anomaly. "
        "Use mae, rmse or r2.",
    ),
    "a task without a label": (
        GOOD + '[data.more]\nsource = "more.csv"\ntask = "binary"  # HERE',
        "a task is predicted from a label, and this dataset has none",
    ),
    "a bad name": (
        '[project]\nname = "No Spaces"  # HERE',
        "use lower-case letters, digits and hyphens",
    ),
    "an unknown table": (
        GOOD + '[rolout]  # HERE\nhold = "1d"',
        "Unknown field 'rolout'. Did you mean 'rollout'?",
    ),
    "an unknown key": (
        GOOD + '[rollout]\nhld = "1d"  # HERE',
        "Unknown field 'rollout.hld'. Did you mean 'hold'?",
    ),
    "an unknown key at the top": (
        'nmae = 1  # HERE\n[project]\nname = "p"',
        "Unknown field 'nmae'",
    ),
    "a key missing": ('[project]  # HERE\nowner = "me"', "Field 'project.name' is missing."),
    "a wrong type": (
        "[project]\nname = 1  # HERE",
        "Field 'project.name': Expected `str`, got `int`.",
    ),
    "a duration without a unit": (
        GOOD + "[pipeline]\ncpu_time = 5  # HERE",
        "got `int`. Write a duration as text with its unit, such as",
    ),
    "a wrong choice": (
        '[project]\nname = "p"\nrisk = "huge"  # HERE',
        "Field 'project.risk': there is no 'huge'. Known: high, low, medium.",
    ),
    "no TOML": ('[project]\nname = "p"\nowner = # HERE', "Invalid value"),
    "a key given twice": ('[project]\nname = "p"\nname = "q"  # HERE', "Cannot overwrite a value"),
    "a key of the second requirement": (
        GOOD + '[[requirement]]\nid = "R2"\nmetric = "f1"\nat_lest = 1  # HERE',
        "Unknown field 'requirement[1].at_lest'. Did you mean 'at_least'?",
    ),
    "a requirement without metric": (
        GOOD + '[[requirement]]  # HERE\nid = "R2"\nat_least = 1',
        "Field 'requirement[1].metric' is missing.",
    ),
    "an id used twice": (
        GOOD + '[[requirement]]\nid = "R1"  # HERE\nmetric = "f1"\nat_least = 1',
        "'R1' is used twice",
    ),
    "a requirement without bound": (
        GOOD + '[[requirement]]\nid = "R2"\nmetric = "f1"  # HERE',
        "requirement 'R2' needs either at_least or at_most",
    ),
    "a requirement with both bounds": (
        GOOD + '[[requirement]]\nid = "R2"\nmetric = "f1"  # HERE\nat_least = 0\nat_most = 1',
        "needs either at_least or at_most",
    ),
    "a bound that is not finite": (
        GOOD + '[[requirement]]\nid = "R2"\nmetric = "f1"\nat_least = inf  # HERE',
        "requirement[1].at_least",
    ),
    "a bound that is no number": (
        GOOD + '[[requirement]]\nid = "R2"\nmetric = "f1"\nat_most = nan  # HERE',
        "requirement[1].at_most",
    ),
    "data without label": (
        GOOD.replace('label = "left"\n', "").replace("mers]", "mers]  # HERE"),
        "no dataset has a label",
    ),
    "a dataset without source": (
        '[project]\nname = "p"\n[data.d]  # HERE\nlabel = "y"',
        "source' is missing",
    ),
    "an unknown key of a dataset": (
        '[project]\nname = "p"\n[data.a]\nsource = "s"\nlabel = "y"\n'
        '[data.b]\nsource = "s"\nlable = "y"  # HERE',
        "Did you mean 'label'?",
    ),
    "a key with a bracket": (
        '[project]\nname = "p"\n"a]" = 1  # HERE',
        "Unknown field 'project.a]'",
    ),
    "a key with a quote": (
        '[project]\nname = "p"\n"a\'b" = 1  # HERE',
        "Unknown field 'project.a'b'",
    ),
    "a quoted key": ('[project]\nname = "p"\n"risk" = "huge"  # HERE', "project.risk"),
    "a bad duration": (GOOD + '[rollout]\nhold = "soon"  # HERE', "'soon' is not a duration"),
    "no processor time": (
        GOOD + '[pipeline]\ncpu_time = "0s"  # HERE',
        "must last longer than nothing",
    ),
    "a duration beyond all time": (
        GOOD + '[rollout]\nhold = "99999999999999d"  # HERE',
        "rollout.hold",
    ),
    "a label delay": (
        GOOD.replace('"left"', '"left"\nlabel_delay = "1y" # HERE'),
        "data.customers.label_delay",
    ),
    "a dataset with a name in quotes": (
        '[project]\nname = "p"\n[data."a b"]\nsource = "s"\nlabel = "y"\n'
        'label_delay = "1y"  # HERE',
        "'1y' is not a duration",
    ),
    "a trigger": (GOOD + '[retrain]\nwhen = ["drfit"]  # HERE', "Did you mean 'drift'?"),
    "an age": (
        GOOD + '[retrain]\nwhen = ["older than a week"]  # HERE',
        "'a week' is not a duration",
    ),
    "an age beyond all time": (
        GOOD + '[retrain]\nwhen = ["older than 99999999999999d"]  # HERE',
        "retrain.when[0]",
    ),
    "a schedule": (
        GOOD + '[retrain]\nwhen = ["drift", "0 24 * * *"]  # HERE',
        "The hour '24' is outside 0 to 23.",
    ),
    "a rollout step": (
        GOOD + '[rollout]\nsteps = ["10"]  # HERE',
        "'10' is neither 'shadow' nor 'ab' nor 'bandit' nor a share such as '10%'",
    ),
    "an error margin that is no share": (
        GOOD + '[rollout]\nerror_margin = "shadow"  # HERE',
        "Field 'rollout.error_margin': 'shadow' is not a share such as '10%'",
    ),
    "a log that is no share": (
        GOOD + '[serving]\nlog = "shadow"  # HERE',
        "Field 'serving.log': 'shadow' is not a share such as '10%'",
    ),
    "a share of nothing": (
        GOOD + '[rollout]\nsteps = ["0%"]  # HERE',
        "'0%' is not between 0% and 100%",
    ),
    "a share of more than all": (
        GOOD + '[rollout]\nsteps = ["101%"]  # HERE',
        "'101%' is not between 0% and 100%",
    ),
    "a table in one line": (GOOD + "\n[project.x]  # HERE", "Unknown field 'project.x'"),
    "an inline table": (
        'rollout = {hold = "x"}  # HERE\n[project]\nname = "p"',
        "'x' is not a duration",
    ),
    "a dotted key": ('rollout.hold = "x"  # HERE\n[project]\nname = "p"', "'x' is not a duration"),
    "after text of many lines": (
        '[project]\nname = "p"\nrisk = "huge" # HERE\nproblem = """\nrisk = 1\n[rollout]\n"""',
        "project.risk",
    ),
    "after a line separator": (
        '[project]\nname = "p" # \u2028 one line, for TOML\nnmae = 1  # HERE',
        "project.nmae",
    ),
    "with the line ends of Windows": (
        '[project]\r\nname = "p"\r\nnmae = 1  # HERE\r\n',
        "project.nmae",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_an_error_says_what_is_wrong_and_points_at_the_line(mistake: str) -> None:
    text, message = WRONG[mistake]
    line = text[: text.index("HERE")].count("\n") + 1
    with pytest.raises(Invalid) as refused, within(2):
        parse(text)
    assert message in refused.value.message
    assert f" line {line}:" in refused.value.message.replace(",", ":")


def test_a_wrong_parameter_is_found_in_its_table() -> None:
    with pytest.raises(Invalid, match=r"line [34]: Field 'pipeline\.parameters"), within(2):
        parse('[project]\nname = "p"\n[pipeline.parameters]\ndepth = [[1]]')


def test_a_project_needs_a_table_of_its_own() -> None:
    with pytest.raises(Invalid, match=r"^treadle\.toml: Field 'project' is missing\.$"):
        parse("")


def test_the_smallest_project_has_defaults() -> None:
    spec = parse('[project]\nname = "p"')
    assert spec.rollout.way == ["shadow", "10%", "50%", "100%"]
    assert spec.retrain.cooldown == "1d"
    assert spec.labelled is None


def test_all_that_is_written_is_read() -> None:
    spec = parse(
        GOOD + '[retrain]\nwhen = ["drift", "older than 30d", "older than 2w", "0 3 * * 1"]'
    )
    assert spec.labelled == spec.data["customers"]
    assert spec.requirement[0].bound == "roc_auc ≥ 0.65"
    assert spec.requirement[0].met_by(0.65)
    assert not spec.requirement[0].met_by(0.64)
    assert spec.retrain.schedules == ["0 3 * * 1"]
    assert spec.retrain.older_than is not None
    assert spec.retrain.older_than.days == 14


@pytest.mark.parametrize(
    ("step", "expected"), [("shadow", 0.0), ("10%", 0.1), ("2.5%", 0.025), ("100%", 1.0)]
)
def test_a_step_is_a_share_of_traffic(step: str, expected: float) -> None:
    assert share(step) == pytest.approx(expected)


def test_a_file_is_read_by_its_folder_too(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_text(GOOD)
    assert read(tmp_path) == read(tmp_path / "treadle.toml") == parse(GOOD)


def test_an_absent_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"treadle\.toml'\. Make a project with: treadle init NAME"):
        read(tmp_path)


def test_a_file_that_is_no_text_says_where(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_bytes(b"[project]\nname = '\xff'")
    with pytest.raises(Invalid, match=r"treadle\.toml: not UTF-8 text at byte 18"):
        read(tmp_path)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_text("[project]\nnmae = 1")
    with pytest.raises(Invalid) as refused:
        read(tmp_path)
    assert refused.value.message.startswith(
        f"{tmp_path / 'treadle.toml'}, line 2: Unknown field 'project.nmae'."
    )


def test_the_nearest_project_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "treadle.toml").touch()
    assert nearest(tmp_path / "a" / "b") == tmp_path / "a"
    (tmp_path / "a" / "treadle.toml").unlink()
    assert nearest(tmp_path / "a" / "b") != tmp_path / "a"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('metric = "availability"', "is a metric of single requests"),
        ('metric = "freshness_days"\nat_most = 3', "is a metric of single windows"),
        ('metric = "availability"\nobjective = "99%"\nat_least = 1', "availability has no bound"),
        ('metric = "recall_above_0.2"\nat_least = 5', "is 1 at most, so 5 can never be reached"),
        ('metric = "r2"\nat_least = 1.1', "is 1 at most"),
        ('metric = "latency_ms"\nobjective = "99%"', "needs either at_least or at_most"),
        ('metric = "availability"\nobjective = "100%"', "100% leaves no error budget"),
        ('metric = "availability"\nobjective = "99"', "is not a share"),
        ('metric = "availability"\nobjective = "99%"\nover = "36h"', "no period of 7 to 90"),
        ('metric = "availability"\nobjective = "99%"\nover = "1y"', "is not a duration"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(lines: str, message: str) -> None:
    text = f'[project]\nname = "p"\n[[requirement]]\nid = "R"\n{lines}\n'
    with pytest.raises(Invalid, match=message):
        parse(text)


def test_a_project_of_steps_alone_needs_no_label() -> None:
    text = '[project]\nname = "p"\n[data.rows]\nsource = "rows.csv"\n'
    spec = parse(text + '[[schedule]]\nname = "daily"\nsteps = ["total"]\nwhen = "0 3 * * *"\n')
    assert spec.learnt is None
    with pytest.raises(Invalid, match="no dataset has a label"):
        parse(text + '[[requirement]]\nid = "R1"\nmetric = "f1"\nat_least = 0.5\n')
