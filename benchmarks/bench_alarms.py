"""How often treadle.drift alarms where nothing has moved, and how often it sees what has.

Family-wise alarms: 10,000 trials for each number of rows, number of columns and distribution. A
test is conditional on what both samples hold together, so trials are drawn from its law: pooled
samples are drawn and cut into cells by the code that ``treadle.drift`` runs, and each trial deals
the pooled rows out anew (a multivariate hypergeometric draw of counts, which is the same as dealing
rows). The evidence alone is counted, without the gate on effect, which can only lower the rates. A
smaller number of trials runs ``treadle.drift`` itself on rows, with columns that depend on each
other.

Power: the same normal draws, shifted, for treadle.drift, a t-test, and the defaults of Evidently
and NannyML, which ``make bench-alarms`` installs in ``.peers-monitoring``.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import treadle
from treadle.data.columns import ArrayColumn
from treadle.data.pairs import Pair, count_pair
from treadle.monitoring.judging import FALSE_ALARMS
from treadle.stats.homogeneity import homogeneity
from treadle.stats.hypothesis import adjusted_p_values
from treadle.stats.intervals import share

HERE = Path(__file__).parent
PEER = HERE.parent / ".peers-monitoring" / "bin" / "python"
REFERENCE = 10_000
SIZES = (50, 100, 500, 1_000, 10_000, 100_000)
FAMILIES = (1, 10, 100)
POOLED = 20
"""Pooled samples for each number of rows; each is dealt out in as many trials."""
SHIFTS = (0.0, 0.1, 0.2, 0.3)
POWER_TRIALS = {50: 200, 100: 200, 500: 200, 1_000: 200, 10_000: 100, 100_000: 20}

Draw = Callable[[np.random.Generator, int], NDArray[Any]]


def normal(random: np.random.Generator, rows: int) -> NDArray[Any]:
    return random.normal(size=rows)


def heavy(random: np.random.Generator, rows: int) -> NDArray[Any]:
    """Amounts: three fifths are 0, the others have no finite variance, to two decimals."""
    amounts = np.round(random.pareto(1.2, rows), 2)
    return np.where(random.random(rows) < 0.6, 0.0, amounts)


def rare(random: np.random.Generator, rows: int) -> NDArray[Any]:
    """Two hundred categories by Zipf's law: most are rare."""
    shares = 1 / np.arange(1, 201) ** 1.5
    names = np.array([f"c{number}" for number in range(200)], dtype=object)
    return np.asarray(names[random.choice(200, rows, p=shares / shares.sum())])


DRAWS: dict[str, Draw] = {"normal": normal, "heavy-tailed": heavy, "rare categories": rare}


def main() -> None:
    with ProcessPoolExecutor(2) as pool, tempfile.TemporaryDirectory() as folder:
        cells = list(product(DRAWS, SIZES))
        rates = pool.map(alarm_rates, *zip(*cells, strict=True))
        measured: list[dict[str, Any]] = []
        for (name, rows), found in zip(cells, rates, strict=True):
            for columns, (alarms, trials) in found.items():
                of = share(alarms, trials)
                line: dict[str, Any] = {
                    "data": name,
                    "rows": rows,
                    "columns": columns,
                    "trials": trials,
                }
                line |= {
                    "trials": trials,
                    "rate": alarms / trials,
                    "low": round(of.low, 4),
                    "high": round(of.high, 4),
                }
                measured.append(line)
                say("family-wise false alarms", **line)
        say("worst cell", declared=FALSE_ALARMS, **max(measured, key=lambda line: line["rate"]))
        for rows, columns in ((100, 10), (1_000, 10)):
            alarms, trials = alarms_of_dependent_columns(rows, columns, trials=400)
            say("dependent columns, on rows", rows=rows, columns=columns, rate=alarms / trials)
        power(Path(folder))


def alarm_rates(
    name: str, rows: int, trials: int = 10_000, reference: int = REFERENCE
) -> dict[int, tuple[int, int]]:
    """Alarms and trials by number of columns."""
    random = np.random.default_rng([rows, len(name)])
    found = dict.fromkeys(FAMILIES, (0, 0))
    each = -(-trials // POOLED)
    for _ in range(POOLED):
        pair = pooled_pair(DRAWS[name], random, reference, rows)
        p_values = p_values_dealt(pair, random, rows, each * max(FAMILIES))
        for columns in FAMILIES:
            of_trials = p_values.reshape(each, max(FAMILIES))[:, :columns]
            alarms = sum(alarmed(trial) for trial in of_trials)
            found[columns] = (found[columns][0] + alarms, found[columns][1] + each)
    return found


def pooled_pair(draw: Draw, random: np.random.Generator, reference: int, rows: int) -> Pair:
    """A column of both samples over the cells that treadle.drift chooses."""
    values = draw(random, reference + rows)
    return count_pair(ArrayColumn(values[:reference]), ArrayColumn(values[reference:]))


def p_values_dealt(
    pair: Pair, random: np.random.Generator, rows: int, times: int
) -> NDArray[np.float64]:
    """P-values where the pooled rows are dealt out anew; 2 where nothing can be tested."""
    both = pair.first + pair.second
    second = random.multivariate_hypergeometric(both, rows, size=times, method="marginals")
    ordered = np.broadcast_to(np.arange(len(both)) < pair.ordered, second.shape)
    evidence = homogeneity(both - second, second, ordered)
    return np.where(evidence.tests > 0, evidence.p, 2.0)


def alarmed(p_values: NDArray[np.float64]) -> bool:
    """Whether any column of a trial is called drifted by its evidence."""
    tested = p_values[p_values <= 1]
    return bool(len(tested)) and bool(adjusted_p_values(tested).min() <= FALSE_ALARMS)


def alarms_of_dependent_columns(rows: int, columns: int, trials: int) -> tuple[int, int]:
    """Alarms of treadle.drift itself, on columns that are correlated by 0.8."""
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(trials):
        tables = []
        for size in (2_000, rows):
            shared = random.normal(size=(size, 1))
            tables.append(2 * shared + random.normal(size=(size, columns)))
        alarms += treadle.drift(*tables, effect=0.0).drifted
    return alarms, trials


def power(folder: Path) -> None:
    """Print how often each tool alarms, by rows and shift, on the same draws."""
    random = np.random.default_rng(11)
    for rows, trials in POWER_TRIALS.items():
        np.save(folder / f"reference-{rows}.npy", random.normal(size=(REFERENCE, trials)))
        np.save(folder / f"current-{rows}.npy", random.normal(size=(rows, trials)))
    ours = {case: rate for rows in POWER_TRIALS for case, rate in power_of_ours(folder, rows)}
    theirs: dict[str, dict[str, float]] = {}
    if PEER.exists():
        ran = subprocess.run(
            [str(PEER), str(HERE / "alarms_peer.py"), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        theirs = json.loads(ran.stdout.strip().splitlines()[-1])
    for (rows, shift), rates in ours.items():
        peers = {tool: found.get(f"{rows} {shift}") for tool, found in theirs.items()}
        what = "power" if shift else "false alarms a column"
        say(what, rows=rows, shift_sigma=shift, trials=POWER_TRIALS[rows], **rates, **peers)


def power_of_ours(folder: Path, rows: int) -> Iterator[tuple[tuple[int, float], dict[str, float]]]:
    """Rates of alarms by shift: by evidence, with the gate, and of a t-test and KS by theirs."""
    from scipy import stats

    reference = np.load(folder / f"reference-{rows}.npy")
    base = np.load(folder / f"current-{rows}.npy")
    for shift in SHIFTS:
        current = base + shift
        found = [
            treadle.drift({"x": before}, {"x": now}).columns["x"]
            for before, now in zip(reference.T, current.T, strict=True)
        ]
        t_test = stats.ttest_ind(reference, current).pvalue <= FALSE_ALARMS
        ks = [
            stats.ks_2samp(before, now, method="asymp").pvalue <= FALSE_ALARMS
            for before, now in zip(reference.T, current.T, strict=True)
        ]
        yield (
            (rows, shift),
            {
                "treadle_evidence": float(np.mean([one.p <= FALSE_ALARMS for one in found])),
                "treadle_drifted": float(np.mean([one.drifted for one in found])),
                "t_test": float(t_test.mean()),
                "ks_test": float(np.mean(ks)),
            },
        )


def say(benchmark: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"benchmark": benchmark, **facts}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
