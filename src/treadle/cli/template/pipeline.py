"""How the model is made: every function that is marked as a step is one.

The name of a step's parameter says where its value comes from.
"""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ESTIMATOR
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import treadle

TEXT = TEXT_COLUMNS
NUMBERS = NUMBER_COLUMNS
LABEL = "LABEL_COLUMN"
ID = "ID_COLUMN"


@treadle.step
def table(rows: Path) -> pd.DataFrame:
    """``rows`` is the dataset of that name in treadle.toml. Missing text becomes ''."""
    table = pd.read_csv(rows, dtype=dict.fromkeys(WORDS, str)).dropna(subset=[LABEL])
    TRUTH
    return table.fillna(dict.fromkeys(TEXT, "")).reset_index(drop=True)


@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    """A quarter that no training sees; every candidate is judged on the newest half of it."""
    held = table[treadle.held_out(table, ID)]
    return held.tail(max(1000, len(held) // 2))


@treadle.step
def model(
    table: pd.DataFrame, seed: int = 0, leaves: int = 8, rate: float = 0.1
) -> treadle.Model:
    """A model of the rest. A returned treadle.Model is packaged as ONNX, and both are compared."""
    train = table[~treadle.held_out(table, ID)]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = ESTIMATOR(max_iter=60, max_leaf_nodes=leaves, learning_rate=rate, random_state=seed)
    columns = make_column_transformer((encode, TEXT), ("passthrough", NUMBERS))
    estimator = make_pipeline(columns, trees)
    return treadle.Model(estimator.fit(train[TEXT + NUMBERS], train[LABEL]), train[TEXT + NUMBERS])
