"""Replays a project's own past under several policies, with the machine's cores."""

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from treadle.data import frames
from treadle.evaluation.model import Judged
from treadle.kernel.clock import SystemClock, duration
from treadle.kernel.entity import Entity, replace, to_json
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.loop.backtest.history import Timeline, moment_of, naive, timeline
from treadle.loop.backtest.model import Backtest, Period, Seen, Served, Trained
from treadle.loop.backtest.replay import Player
from treadle.loop.backtest.summary import cheapest, compared_by, frontier, summed_up
from treadle.loop.backtest.workbench import Recipe, Workbench, rows_of
from treadle.monitoring.discovery import registered_monitors
from treadle.pipelines.perform import hints
from treadle.pipelines.step import BUILT_IN, StepPlan, load_steps, plan, read_steps
from treadle.platform.runtimes import Exporters
from treadle.platform.step import reason
from treadle.scope.model import ProjectSpec
from treadle.stats.metrics import is_metric, lower_is_better
from treadle.training.service import HOLDOUT

TABLE_FILE, TIMES_FILE = "table.parquet", "times.npz"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads numerical libraries take; they read them when loaded."""
ASSUMPTIONS = (
    "each row of the past is a request that the live model answers",
    "a label is known from its time on: `label_time`, or the row's time and the `label_delay`",
    "a training takes no time; its model is signed at once and live after the rollout's steps",
    "a share of the requests in a rollout is answered by the champion",
    "schedules are looked at by the hour",
)
MOST_WINDOWS = 400
"""Windows that a replay looks at; of a long past, longer ones than are declared."""
WINDOWS = ("1h", "6h", "1d", "2d", "7d", "14d", "28d", "91d", "364d", "3640d")
"""Lengths that take the place of a shorter one."""
Progress = Callable[[int, str], None]
"""Called with the number of models trained so far, and what is done."""


class Setting(Entity):
    """What each process of a backtest opens.

    Attributes:
        folder: Folder of the table and the models.
        spec: The project's own declaration.
        file: Path of the pipeline file.
        table: Name of the step that returns the table to learn from.
        given: Paths of datasets and values of parameters by name.
    """

    folder: str
    spec: ProjectSpec
    file: str
    table: str
    given: dict[str, Any]


def backtest(
    project: Path,
    policies: Mapping[str, ProjectSpec],
    *,
    start: datetime | None = None,
    until: datetime | None = None,
    data: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    processes: int | None = None,
    progress: Progress = lambda _models, _doing: None,
) -> Backtest:
    """Replay a project's past under several policies.

    The project's pipeline makes the table to learn from once, of all that there is. Each policy
    then lives through that table's time: its monitors look at windows, its triggers and brakes
    decide, models are trained on the rows that were labelled by then, judged beside the champion
    and rolled out. What several policies ask for alike is done once.

    Args:
        project: The project's folder.
        policies: Each policy by name: the project's declaration with the policy's changes.
        start: When the first model goes live; after a sixth of the time by default.
        until: When history ends, which is also what ``asof`` is to the step that makes the table;
            now by default.
        data: Files or folders by dataset that take the place of the declared sources.
        parameters: Values of pipeline parameters while the table is made.
        processes: Number of processes; one for each core by default.
        progress: Called as models are trained.

    Raises:
        Invalid: The project declares no time, no label or no requirement that rows can show, or its
            pipeline fails.
        NotFound: There is no such dataset.
    """
    began = time.monotonic()
    spec = next(iter(policies.values()))
    if spec.labelled is None:
        raise Invalid("treadle.toml names no label, so there is nothing to compare policies by.")
    if not any(is_metric(each.metric) for each in spec.requirement):
        raise Invalid(
            "treadle.toml has no [[requirement]] on a metric of labelled rows, such as roc_auc, so "
            "there is nothing to compare policies by."
        )
    with tempfile.TemporaryDirectory(prefix="treadle-backtest-") as folder:
        progress(0, "making the table to learn from")
        given = _given(project, spec, data or {}, parameters or {})
        setting, times = _prepare(project, spec, Path(folder), given, until or SystemClock().now())
        first = start or _default_start(times, duration(spec.monitoring.window))
        played = {
            name: _with_fewer_windows(each, times.end - first) for name, each in policies.items()
        }
        with _one_thread_each(), _pool(setting, processes) as pool:
            work = _Work(pool, progress)
            replays = asyncio.run(_play(played, times, first, work))
    metric = compared_by(spec.requirement).metric
    higher = not lower_is_better(metric)
    begin, stop = times.rows(first, times.end)
    return Backtest(
        project=spec.project.name,
        metric=metric,
        higher_is_better=higher,
        start=first,
        end=times.end,
        rows=stop - begin,
        models=work.models,
        took=round(time.monotonic() - began, 1),
        replays=replays,
        frontier=frontier(replays, higher_is_better=higher),
        cheapest=cheapest(replays, higher_is_better=higher),
        assumptions=[*ASSUMPTIONS, *_coarser(policies, played)],
    )


def _with_fewer_windows(spec: ProjectSpec, span: timedelta) -> ProjectSpec:
    """A policy whose windows are long enough to be looked at over a whole past.

    A window of an hour suits an endpoint of today; years of them take hours to replay.
    """
    if span / duration(spec.monitoring.window) <= MOST_WINDOWS:
        return spec
    window = next((one for one in WINDOWS if span / duration(one) <= MOST_WINDOWS), WINDOWS[-1])
    return replace(spec, monitoring=replace(spec.monitoring, window=window))


def _coarser(
    declared: Mapping[str, ProjectSpec], played: Mapping[str, ProjectSpec]
) -> Iterator[str]:
    """What is taken for granted about windows that are longer than declared."""
    changed = {
        (declared[name].monitoring.window, played[name].monitoring.window) for name in declared
    }
    for before, now in sorted(changed):
        if before != now:
            yield f"windows of {now} stand for those of {before}, which would be too many"


async def _play(
    policies: Mapping[str, ProjectSpec], times: Timeline, start: datetime, work: "_Work"
) -> list[Any]:
    async def one(name: str, spec: ProjectSpec) -> Any:
        player = Player(spec, times, start, work)
        await player.play()
        return await summed_up(name, player, times, spec, start, work)

    return list(await asyncio.gather(*(one(*policy) for policy in policies.items())))


class _Work:
    """Has the work done by a pool of processes; the same work once."""

    def __init__(self, pool: ProcessPoolExecutor, progress: Progress) -> None:
        self.models = 0
        self._pool, self._progress = pool, progress
        self._asked: dict[bytes, asyncio.Future[Any]] = {}

    async def train(self, at: datetime, spec: ProjectSpec) -> Trained:
        trained: Trained = await self._done(
            "train", at, spec, kept=(at, spec.learnt, spec.pipeline)
        )
        return trained

    async def judge(self, candidate: str, champion: str | None, spec: ProjectSpec) -> Judged:
        kept = (candidate, champion, spec.requirement)
        judged: Judged = await self._done("judge", candidate, champion, spec, kept=kept)
        return judged

    async def look(
        self,
        start: datetime,
        end: datetime,
        served: list[Served],
        labelled: bool,
        spec: ProjectSpec,
    ) -> list[Seen]:
        age = None if labelled else spec.retrain.older_than
        kept = (start, served, labelled, spec.monitoring, spec.requirement, spec.learnt, age)
        asked = (start, end, served, labelled, spec)
        seen: list[Seen] = await self._done("look", *asked, kept=kept)
        return seen

    async def compare(self, served: list[Served], other: list[Served], metric: str) -> Period:
        asked = (served, other, metric)
        period: Period = await self._done("compare", *asked, kept=asked)
        return period

    async def _done(self, what: str, *arguments: Any, kept: tuple[Any, ...]) -> Any:
        key = to_json([what, *map(_plain, kept)])
        if key not in self._asked:
            asked = asyncio.wrap_future(self._pool.submit(_do, what, arguments))
            self._asked[key] = asked
            if what == "train":
                asked.add_done_callback(self._count)
        return await self._asked[key]

    def _count(self, _done: object) -> None:
        self.models += 1
        self._progress(self.models, f"{self.models} models trained")


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, timedelta) else value


@contextmanager
def _pool(setting: Setting, processes: int | None) -> Iterator[ProcessPoolExecutor]:
    """Processes that each have the table and the steps; what waits is dropped when one fails."""
    count = processes or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_enter, initargs=(setting,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the numerical libraries of processes that start meanwhile take one core each.

    Threads of several processes that wait for each other make trainings many times slower.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


_bench: Workbench | None = None


def _enter(setting: Setting) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    frame, times, recipe = _open(setting)
    assert setting.spec.labelled is not None and setting.spec.labelled.label is not None
    _bench = Workbench(
        frame,
        times,
        setting.spec.labelled.label,
        recipe,
        Exporters(),
        registered_monitors(),
        Path(setting.folder),
    )


def _do(what: str, arguments: tuple[Any, ...]) -> Any:
    assert _bench is not None
    return getattr(_bench, what)(*arguments)


def _given(
    project: Path, spec: ProjectSpec, data: Mapping[str, str], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Paths of datasets and values of parameters by name."""
    if unknown := sorted({*data} - {*spec.data}):
        hint = did_you_mean(unknown[0], spec.data)
        raise NotFound(f"There is no dataset '{unknown[0]}' in treadle.toml.{hint}")
    sources = {
        name: _source(name, data.get(name) or source.source, project)
        for name, source in spec.data.items()
    }
    return {**sources, **spec.pipeline.parameters, **parameters}


def _prepare(
    project: Path, spec: ProjectSpec, folder: Path, given: dict[str, Any], until: datetime
) -> tuple[Setting, Timeline]:
    """Run the pipeline up to the table to learn from, and write that and the order of its rows."""
    file = project / spec.pipeline.file
    steps = plan(read_steps(file), given={*given})
    table = _table_step(steps)
    functions = load_steps(file)
    frames.write(_made(steps, functions, given, table, until), folder / TABLE_FILE)
    frame = frames.read(folder / TABLE_FILE, _kind(functions, _after(steps, table), table))
    assert spec.labelled is not None
    order, times = timeline(frame, spec.labelled)
    past = times.times < naive(until)
    if not past.any():
        raise Invalid(f"The step '{table}' returned no row before {until:%Y-%m-%d %H:%M}.")
    order, times = order[past], Timeline(times.times[past], times.known[past])
    np.savez(folder / TIMES_FILE, order=order, times=times.times, known=times.known)
    setting = Setting(
        folder=str(folder), spec=spec, file=str(file), table=table, given=_paths_as_text(given)
    )
    return setting, times


def _made(
    steps: Sequence[StepPlan],
    functions: Mapping[str, Callable[..., Any]],
    given: Mapping[str, Any],
    table: str,
    until: datetime,
) -> Any:
    """What the step ``table`` returns, and so the steps before it."""
    known = {**given, **dict(zip(BUILT_IN, (until, given.get("seed", 0)), strict=True))}
    for step in steps:
        arguments = {each.name: known[each.name] for each in step.needs if each.name in known}
        try:
            known[step.name] = functions[step.name](**arguments)
        except Exception as error:
            raise Invalid(f"Step '{step.name}' failed: {reason(error)}") from error
        if step.name == table:
            break
    return known[table]


def _open(setting: Setting) -> tuple[Any, Timeline, Recipe]:
    """The table in the order of its time, its moments, and how models are made of it."""
    file, folder = Path(setting.file), Path(setting.folder)
    given = {
        name: Path(value) if name in setting.spec.data else value
        for name, value in setting.given.items()
    }
    functions = load_steps(file)
    later = _after(plan(read_steps(file), given={*given}), setting.table)
    frame = frames.read(folder / TABLE_FILE, _kind(functions, later, setting.table))
    with np.load(folder / TIMES_FILE) as kept:
        times = Timeline(kept["times"], kept["known"])
        return rows_of(frame, kept["order"]), times, Recipe(setting.table, later, functions, given)


def _table_step(steps: Sequence[StepPlan]) -> str:
    """The step whose table both the model and the holdout are made of: the last such one."""
    by_name = {step.name: step for step in steps}
    if HOLDOUT not in by_name:
        raise Invalid(f"There is no step '{HOLDOUT}', so no model could be judged.")
    needed = {need.name for need in by_name[HOLDOUT].needs} & {*by_name}
    shared = [step.name for step in steps if step.name in needed]
    if not shared:
        raise Invalid(
            f"The step '{HOLDOUT}' takes no other step's table, so there is no table to cut where "
            "the past ends. Let one step make the table that '{HOLDOUT}' and the model take."
        )
    return shared[-1]


def _after(steps: Sequence[StepPlan], table: str) -> list[StepPlan]:
    """The steps that need the table, directly or by others, in order."""
    reached, found = {table}, []
    for step in steps:
        if step.name != table and any(need.name in reached for need in step.needs):
            reached.add(step.name)
            found.append(step)
    return found


def _kind(functions: Mapping[str, Any], later: Sequence[StepPlan], table: str) -> Any:
    """The class of frame that the later steps ask for."""
    kinds = (hints(functions[step.name]).get(table) for step in later)
    return next((kind for kind in kinds if kind is not None), None)


def _source(name: str, source: str, project: Path) -> Path:
    path = Path(source) if Path(source).is_absolute() else project / source
    if not path.exists():
        raise NotFound(f"There is no '{path}', the source of the dataset '{name}'.")
    return path


def _paths_as_text(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(one) if isinstance(one, Path) else one for name, one in given.items()}


def _default_start(times: Timeline, window: timedelta) -> datetime:
    first = moment_of(times.times[0])
    start = first + (times.end - first) / 6
    return start - (start - first) % window if window < (start - first) else start
