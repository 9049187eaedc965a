"""Projects as services keep them, whoever declares them and from where."""

from collections.abc import Callable

import pytest

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, DataSource, ProjectSpec, Requirement

R1 = Requirement(id="R1", metric="roc_auc", at_least=0.6)
SPEC = ProjectSpec(
    project=About(name="churn"),
    data={"rows": DataSource(source="rows.csv", label="y")},
    requirement=[R1],
)


@pytest.fixture
def home(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home()


def test_a_changed_file_is_declared_again(home: Embedded) -> None:
    home.scope.declare_in(spec=SPEC, folder="/a")
    home.scope.declare_in(spec=replace(SPEC, requirement=[]), folder="/a")
    assert home.scope.project(name="churn").spec.requirement == []
    assert [record.type for record in home.events.history()] == ["ProjectDeclared"] * 2


def test_a_project_that_moved_is_declared_again(home: Embedded) -> None:
    home.scope.declare_in(spec=SPEC, folder="/a")
    assert home.scope.declare_in(spec=SPEC, folder="/b").folder == "/b"


def test_projects_are_listed_by_name(home: Embedded) -> None:
    for name in ("b", "a"):
        home.scope.declare_in(spec=replace(SPEC, project=About(name=name)), folder="/a")
    assert [project.name for project in home.scope.projects()] == ["a", "b"]


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, project=About(name="No Spaces")),
        replace(SPEC, project=About(name="")),
        replace(SPEC, requirement=[R1, R1]),
        replace(SPEC, requirement=[Requirement(id="R1", metric="roc_auc")]),
        replace(SPEC, requirement=[Requirement(id="R1", metric="roc_auc", at_least=float("inf"))]),
    ],
    ids=["a name with spaces", "no name", "an id used twice", "no bound", "an endless bound"],
)
def test_what_a_file_may_not_say_cannot_be_declared(home: Embedded, spec: ProjectSpec) -> None:
    with pytest.raises(Invalid):
        home.scope.declare_in(spec=spec, folder="/a")
    assert home.scope.projects() == []
    assert home.events.history() == []
