"""How the model is made. Every function marked as a step is one; a parameter's name says where its value comes from."""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import treadle

TEXT, NUMBERS, LABEL = ["contract"], ["months", "support_calls", "price"], "left"


@treadle.step
def table(customers: Path) -> pd.DataFrame:
    """``customers`` is the dataset of that name in treadle.toml."""
    return pd.read_csv(customers)


@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    """A quarter that training never sees. The step of this name is what every candidate is judged on."""
    return table[table.index % 4 == 0]


@treadle.step
def model(table: pd.DataFrame, seed: int = 0) -> treadle.Model:
    """The rest, learnt. Returning a treadle.Model packages it as ONNX and checks that both give the same answers."""
    rows = table[table.index % 4 != 0]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=seed)
    estimator = make_pipeline(make_column_transformer((encode, TEXT), ("passthrough", NUMBERS)), trees)
    return treadle.Model(estimator.fit(rows[TEXT + NUMBERS], rows[LABEL]), rows[TEXT + NUMBERS])
