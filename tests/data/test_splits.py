"""In a trial of tuning, the rows to judge on are neither learnt from nor held out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from treadle.data.splits import held_out, splitting


@given(st.lists(st.integers(0, 500), max_size=200), st.floats(0.05, 0.95))
def test_a_trial_sees_no_row_of_the_holdout(ids: list[int], share: float) -> None:
    table = pd.DataFrame({"id": np.asarray(ids, dtype=np.int64)})
    holdout = held_out(table, "id", share)
    with splitting("training") as now:
        kept_back = held_out(table, "id", share)
    assert now.used
    with splitting("validation"):
        validation = held_out(table, "id", share)
    assert not (validation & holdout).any()
    assert np.array_equal(kept_back, holdout | validation)
    assert np.array_equal(held_out(table, "id", share), holdout)


def test_each_part_has_its_share() -> None:
    table = pd.DataFrame({"id": np.arange(20_000)})
    with splitting("validation"):
        validation = held_out(table, "id", 0.25)
    assert abs(held_out(table, "id", 0.25).mean() - 0.25) < 0.02
    assert abs(validation.mean() - 0.25 * 0.75) < 0.02


def test_threads_that_a_step_starts_see_no_row_of_the_holdout() -> None:
    table = pd.DataFrame({"id": np.arange(200)})
    with splitting("training") as now, ThreadPoolExecutor(1) as pool:
        kept_back = pool.submit(held_out, table, "id").result()
        assert now.used
        assert np.array_equal(kept_back, held_out(table, "id"))
    assert kept_back.sum() > held_out(table, "id").sum()
