"""Kinds of models that are compared, from the simplest to the most complex."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

_RARE, _MOST_CATEGORIES = 10, 50
"""Rows below which a category is a rare one, and categories of a column that are told apart."""


class Columns(NamedTuple):
    """The inputs of a model.

    Attributes:
        numbers: Columns of numbers, which may be missing.
        text: Columns of categories.
    """

    numbers: list[str]
    text: list[str]


class Candidate(NamedTuple):
    """A kind of model.

    Attributes:
        name: Its name.
        make: Makes an estimator that nobody has fitted, for columns and a seed.
        values: Values to choose from, by parameter of the estimator.
    """

    name: str
    make: Callable[[Columns, int], Any]
    values: Mapping[str, Sequence[Any]]


def built_in(numbers: bool) -> list[Candidate]:
    """Return the kinds of models for a task, the simplest first.

    Args:
        numbers: Whether numbers are predicted, rather than classes.
    """
    linear = {"ridge__alpha": [0.1, 1.0, 10.0, 100.0]}
    return [
        Candidate("baseline", _baseline(numbers), {}),
        Candidate(
            "linear",
            _linear(numbers),
            linear if numbers else {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]},
        ),
        Candidate(
            "tree", _tree(numbers), {f"{_step('DecisionTree', numbers)}__max_depth": [3, 6, 12]}
        ),
        Candidate(
            "forest",
            _forest(numbers),
            {f"{_step('RandomForest', numbers)}__min_samples_leaf": [1, 5, 20]},
        ),
        Candidate(
            "boosting",
            _boosting(numbers),
            {
                f"{_step('HistGradientBoosting', numbers)}__max_leaf_nodes": [8, 31],
                f"{_step('HistGradientBoosting', numbers)}__learning_rate": [0.05, 0.15],
            },
        ),
        Candidate(
            "neural",
            _neural(numbers),
            {f"{_step('MLP', numbers)}__hidden_layer_sizes": [(32,), (64, 32)]},
        ),
    ]


def _baseline(numbers: bool) -> Callable[[Columns, int], Any]:
    return lambda _columns, _seed: (
        DummyRegressor() if numbers else DummyClassifier(strategy="prior")
    )


def _linear(numbers: bool) -> Callable[[Columns, int], Any]:
    def make(columns: Columns, _: int) -> Any:
        model = Ridge() if numbers else LogisticRegression(max_iter=2000)
        return make_pipeline(_scaled(columns), model)

    return make


def _tree(numbers: bool) -> Callable[[Columns, int], Any]:
    kind = DecisionTreeRegressor if numbers else DecisionTreeClassifier
    return lambda columns, seed: make_pipeline(
        _ordered(columns), kind(min_samples_leaf=5, random_state=seed)
    )


def _forest(numbers: bool) -> Callable[[Columns, int], Any]:
    kind = RandomForestRegressor if numbers else RandomForestClassifier
    return lambda columns, seed: make_pipeline(
        _ordered(columns), kind(n_estimators=100, random_state=seed)
    )


def _boosting(numbers: bool) -> Callable[[Columns, int], Any]:
    kind = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier
    return lambda columns, seed: make_pipeline(_ordered(columns), kind(random_state=seed))


def _neural(numbers: bool) -> Callable[[Columns, int], Any]:
    kind = MLPRegressor if numbers else MLPClassifier
    return lambda columns, seed: make_pipeline(
        _scaled(columns), kind(early_stopping=True, random_state=seed)
    )


def _scaled(columns: Columns) -> Any:
    """Numbers of mean 0 and variance 1, and a column for each category."""
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=_RARE,
        max_categories=_MOST_CATEGORIES,
        sparse_output=False,
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("numbers", numbers, columns.numbers), ("text", categories, columns.text)]
    return ColumnTransformer([part for part in parts if part[2]])


def _ordered(columns: Columns) -> Any:
    """Numbers as they are, and a number for each category."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    parts = [("numbers", "passthrough", columns.numbers), ("text", codes, columns.text)]
    return ColumnTransformer([part for part in parts if part[2]])


def _step(kind: str, numbers: bool) -> str:
    """What a pipeline calls an estimator."""
    return f"{kind}{'Regressor' if numbers else 'Classifier'}".lower()
