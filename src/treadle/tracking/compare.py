"""What differs between two runs: in what went in, and in what came out."""

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Literal

from treadle.tracking.environment import Environment
from treadle.tracking.model import PARENT, Comparison, Dataset, Difference, Run

Of = Literal["param", "metric", "tag", "dataset", "code", "environment"]
OWN_NAMES = (
    "mlflow.runName",
    "mlflow.user",
    PARENT,
    "mlflow.log-model.history",
    "mlflow.source.git.commit",  # told as part of the environment
    "mlflow.source.git.branch",
    "mlflow.source.name",
    "treadle.rerun_of",
)
"""Tags that differ between any two runs and say nothing of how they came about."""
LONGEST_LINE = 200


class Side:
    """What is compared of a run.

    Args:
        run: The run.
        data: The data that it read.
        code: Content of its source files by path; None where they were not kept.
        environment: How it was started; None where that was not kept.
    """

    def __init__(
        self,
        run: Run,
        data: list[Dataset],
        code: dict[str, bytes] | None = None,
        environment: Environment | None = None,
    ) -> None:
        self.run, self.data, self.code, self.environment = run, data, code, environment


def compared(a: Side, b: Side) -> Comparison:
    """Compare two runs.

    Their parameters, the content of their data, their code, environment, last metrics and tags
    are compared; code and environment only where both runs kept them.

    Args:
        a: The one run.
        b: The other run.
    """
    both: list[tuple[Of, Mapping[str, str | float], Mapping[str, str | float]]] = [
        ("param", a.run.params, b.run.params),
        ("dataset", _contents(a.data), _contents(b.data)),
    ]
    if a.environment and b.environment:
        both.append(("environment", _settings(a.environment), _settings(b.environment)))
    both += [
        ("metric", a.run.metrics, b.run.metrics),
        ("tag", _telling(a.run.tags), _telling(b.run.tags)),
    ]
    differences = [
        difference for of, left, right in both for difference in _differences(of, left, right)
    ]
    keys = sum(len({*left, *right}) for _, left, right in both)
    same = keys - len(differences)
    if a.code is not None and b.code is not None:
        same += sum(a.code.get(path) == b.code.get(path) for path in {*a.code, *b.code})
        differences = [*code_differences(a.code, b.code), *differences]
    return Comparison(a=a.run.id, b=b.run.id, differences=differences, same=same)


def code_differences(a: Mapping[str, bytes], b: Mapping[str, bytes]) -> Iterator[Difference]:
    """Where source files differ.

    Args:
        a: Content of the one run's source files by path.
        b: Content of the other run's source files by path.

    Yields:
        One difference per changed stretch, named ``path:line`` of the second run, with the lines
        of both, cut to 200 characters; one per file that only one run has.
    """
    for path in sorted({*a, *b}):
        if a.get(path) == b.get(path):
            continue
        if path not in a or path not in b:
            yield Difference(
                of="code",
                key=path,
                a="there" if path in a else None,
                b="there" if path in b else None,
            )
            continue
        left, right = (content[path].decode(errors="replace").splitlines() for content in (a, b))
        changes = [
            c
            for c in SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
            if c[0] != "equal"
        ]
        for _, from_, until, start, end in changes:
            yield Difference(
                of="code",
                key=f"{path}:{start + 1}",
                a=_lines(left[from_:until]),
                b=_lines(right[start:end]),
            )


def _lines(lines: list[str]) -> str | None:
    text = "\n".join(line.rstrip() for line in lines)
    return (text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} …") if lines else None


def _settings(found: Environment) -> dict[str, str | float]:
    settings: dict[str, str | float] = {
        "python": found.python,
        "platform": found.platform,
        "cores": found.cores,
    }
    settings |= {f"variable {name}": value for name, value in found.variables.items()}
    settings |= {f"package {name}": version for name, version in found.packages.items()}
    if found.commit:
        settings["commit"] = found.commit[:12] + (" with changes" if found.changed else "")
    if found.command:
        settings["command"] = " ".join(found.command)
    return settings


def _differences(
    of: Of, left: Mapping[str, str | float], right: Mapping[str, str | float]
) -> Iterator[Difference]:
    for key in sorted({*left, *right}):
        a, b = left.get(key), right.get(key)
        both_nan = a != a and b != b
        if a != b and not both_nan:
            yield Difference(of=of, key=key, a=a, b=b)


def _contents(datasets: list[Dataset]) -> dict[str, str | float]:
    return {dataset.name: dataset.digest for dataset in datasets}


def _telling(tags: Mapping[str, str]) -> dict[str, str | float]:
    return {key: value for key, value in tags.items() if key not in OWN_NAMES}
