"""Runs something again from what was kept of it, in a clean folder and the same environment.

Then tells what went in and what came out differently.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from treadle.kernel.clock import monotonic
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Conflict, NotFound
from treadle.platform.addresses import backend
from treadle.platform.replay import Outcome, Recipe
from treadle.platform.rerun_data import RunData
from treadle.platform.rerun_environment import (
    LONGEST_OUTPUT,
    build_environment,
    changed_packages,
    interpreter,
)
from treadle.platform.rerun_metrics import Likeness, MetricPair, pairs, worst
from treadle.platform.stages import Services
from treadle.ports.blobs import asked_for
from treadle.ports.tree import copy_tree, fetch_tree, put_tree, read_tree
from treadle.recording.run_origin import RERUN_OF
from treadle.tracking.environment import CODE, ENVIRONMENT, capture, source_files
from treadle.tracking.model import Difference, Metric
from treadle.training.model import Training

Where = Literal["auto", "rebuilt", "this"]
PLACES: dict[str, Where] = {"auto": "auto", "rebuilt": "rebuilt", "this": "this"}
PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"),
    *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "TREADLE_CLOCK"),
)


class Reproduction(Entity):
    """What came of running something again.

    Attributes:
        run: The run that was run again.
        again: The new run.
        outcome: How alike the metrics are, in one word.
        metrics: Each metric of both runs.
        differences: What else differs.
        same: The number of things that were compared and are the same.
        environment: In words, which environment the new run had.
        identical_outputs: The outputs of steps that are the same to the byte.
        other_outputs: Those that are not.
        notes: What to know about how it was run.
        seconds: How long it took.
    """

    run: str
    again: str
    outcome: Likeness
    metrics: list[MetricPair]
    differences: list[Difference]
    same: int
    environment: str
    identical_outputs: list[str]
    other_outputs: list[str]
    notes: list[str]
    seconds: float


class Rerun:
    """One run, to be run again.

    Args:
        services: The services that hold the run, and that the new one goes to.
        run: The run's id.
        code: A folder whose code is run as it is now; None runs the code that was kept.
        environment: ``auto`` rebuilds the packages where they differ, ``rebuilt`` always, ``this``
            never.
        tolerance: The relative and absolute difference of metrics that still counts as alike.
        ignore: Patterns of metrics that are left out, such as ``time/*``.
        tell: Called with what is being done.

    Raises:
        NotFound: There is no such run.
        Conflict: What repeating the run needs was not kept.
    """

    def __init__(
        self,
        services: Services,
        run: str,
        *,
        code: Path | None = None,
        environment: Where = "auto",
        tolerance: float = 1e-6,
        ignore: tuple[str, ...] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._services, self._run = services, services.tracking.get(run=run)
        self._code, self._where, self._tolerance, self._tell = code, environment, tolerance, tell
        self._ignore = ignore
        self._notes: list[str] = []
        self._rebuilt: dict[str, str] | None = None
        self._kept = {file.path: file.digest for file in services.tracking.artifacts(run=run)}
        found = services.tracking.environment(run=run)
        if found is None or CODE not in self._kept:
            raise Conflict(
                f"Run '{run}' cannot be run again: its code was not kept. Runs keep it that "
                "'treadle run' makes, and treadle.run(…) in a script outside a console."
            )
        self._environment = found

    def done(self) -> Reproduction:
        """Run it again and compare.

        Returns:
            The new run, and how alike it is to the one that was run again.

        Raises:
            NotFound: There is no folder with code where ``code`` says.
            Conflict: It fails this time, or the data that it reads are gone.
            Unavailable: Its environment cannot be rebuilt.
        """
        started = monotonic()
        with tempfile.TemporaryDirectory(prefix="treadle-rerun-") as name:
            folder = Path(name).resolve()
            python, told = self._interpreter(folder / "env")
            training = self._training()
            if training is not None:
                code = self._placed_code(folder / "code")
                again, outputs = self._steps(training, folder, code, python)
            else:
                again, outputs = self._script(folder, python), {}
        compared = self._services.tracking.compare(a=self._run.id, b=again)
        metrics = pairs(
            self._services.tracking,
            self._run.id,
            again,
            tolerance=self._tolerance,
            ignore=self._ignore,
        )
        before = {path: digest for path, digest in self._kept.items() if path in outputs}
        return Reproduction(
            run=self._run.id,
            again=again,
            outcome=worst([pair.likeness for pair in metrics]),
            metrics=metrics,
            differences=[
                one
                for one in compared.differences
                if one.of not in ("metric", "tag") and one.key != "command"
            ],
            same=compared.same,
            environment=told,
            identical_outputs=[path for path in before if before[path] == outputs[path]],
            other_outputs=[path for path in before if before[path] != outputs[path]],
            notes=self._notes,
            seconds=round(monotonic() - started, 1),
        )

    def _placed_code(self, to: Path) -> Path:
        """The code that is run: what was kept, or a folder's as it is now."""
        if self._code is None:
            self._tell("fetching the code")
            return fetch_tree(self._services.blobs, self._kept[CODE], to)
        if not self._code.is_dir():
            raise NotFound(f"There is no folder '{self._code}' with code.")
        steps = self._training() is not None
        for path, file in source_files(self._code.resolve()).items():
            if steps and file.suffix != ".py":  # as a training keeps its code
                continue
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to / path)
        return to

    def _interpreter(self, folder: Path) -> tuple[str, str]:
        """A Python with the packages that the run had, and in words what it is."""
        here = capture(root=Path.cwd(), command=[])
        changed = changed_packages(self._environment, here)
        if self._where == "this" or (self._where == "auto" and not changed):
            return (
                sys.executable,
                "this one, which has the same packages" if not changed else "this one, as it is",
            )
        self._tell(f"building an environment of {len(self._environment.packages)} packages")
        python = interpreter(self._environment.python)
        if python is None:
            self._notes.append(
                f"There is no Python {self._environment.python} here; this is {here.python}."
            )
        build_environment(folder, self._environment, python or sys.executable)
        self._rebuilt = self._environment.packages
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if changed[5:] else "")
        told = f"rebuilt, since {shown} changed" if changed else "rebuilt"
        return str(folder / "bin" / "python"), told

    def _training(self) -> Training | None:
        try:
            return self._services.training.get(run=self._run.id)
        except NotFound:
            return None

    def _steps(
        self, training: Training, folder: Path, code: Path, python: str
    ) -> tuple[str, dict[str, str]]:
        """A pipeline's steps again. Returns the new run, and what each step made."""
        services = self._services
        pipeline = services.pipelines.get(pipeline=training.pipeline)
        blobs = backend("blobs", f"file://{folder / 'home' / 'blobs'}")
        self._tell("fetching the data")
        for digest in pipeline.datasets.values():
            copy_tree(services.blobs, blobs, digest)
        spec = services.scope.project(name=training.project).spec
        recipe = Recipe(
            home=str(folder / "home"),
            project=training.project,
            code=str(code),
            file=pipeline.file,
            datasets=pipeline.datasets,
            parameters=pipeline.parameters,
            asof=pipeline.asof,
            timeout_seconds=pipeline.step_timeout_seconds * max(1, len(pipeline.plan)),
            label=spec.labelled.label if spec.labelled else None,
            metrics=[key for key in self._run.metrics if not key.startswith("seconds.")],
        )
        (folder / "recipe.json").write_bytes(to_json(recipe))
        ours = asked_for(services.blobs, run=self._run.id)
        kept = put_tree(ours, code)  # before steps write anything there
        self._tell(f"running {', '.join(step.name for step in pipeline.plan)}")
        command = [
            python,
            "-m",
            "treadle.platform.replay",
            str(folder / "recipe.json"),
            str(folder / "result.json"),
        ]
        self._call(command, cwd=folder, environment=self._clean({}))
        found = from_json((folder / "result.json").read_bytes(), Outcome)
        return self._recorded(found, kept), found.outputs

    def _recorded(self, found: Outcome, code: str) -> str:
        """The run that stands for what the steps did this time."""
        tracking, before = self._services.tracking, self._run
        again = tracking.start_run(
            experiment=tracking.experiment(id=before.experiment).name,
            name=f"{before.name} again",
            params=before.params,
            tags={**before.tags, RERUN_OF: before.id},
        ).id
        metrics = [Metric(key=key, value=value) for key, value in found.metrics.items()]
        tracking.log(run=again, metrics=metrics)
        tracking.use_data(run=again, datasets=tracking.datasets(run=before.id))
        self._keep_source(again, code)
        tracking.finish_run(run=again)
        return again

    def _keep_source(self, again: str, code: str) -> None:
        """What the run that stands for the steps ran in: like any other's, but of no commit."""
        blobs, tracking = asked_for(self._services.blobs, run=again), self._services.tracking
        here = capture(self._environment.seed, command=self._environment.command)
        known = replace(
            here,
            commit="",
            branch="",
            remote="",
            changed=False,
            variables=self._environment.variables,
        )
        content = to_json(
            known if self._rebuilt is None else replace(known, packages=self._rebuilt)
        )
        tracking.add_artifact(
            run=again, path=ENVIRONMENT, digest=blobs.put(content), bytes=len(content)
        )
        tracking.add_artifact(run=again, path=CODE, digest=code, bytes=read_tree(blobs, code).bytes)

    def _script(self, folder: Path, python: str) -> str:
        """A script's command again, which records itself. Returns the new run."""
        found = self._environment
        if not found.command:
            raise Conflict(
                f"Run '{self._run.id}' came from a console; there is no command to run again."
            )
        datasets = self._services.tracking.datasets(run=self._run.id)
        root = Path(found.root or "/")
        data = RunData(
            self._services.blobs, self._run.id, datasets, found.root, required=self._code is None
        )
        code = self._placed_code(data.moved(root, folder / "code"))
        for dataset in datasets:
            self._notes += data.placed(dataset, folder / "code")
        moved = [
            argument.replace(found.root, str(code)) if found.root else argument
            for argument in found.command
        ]
        told = {"TREADLE_RERUN": self._run.id, "TREADLE_RERUN_IDS": str(folder / "ids")}
        where = {"TREADLE_HOME": str(folder / "home"), **self._services.address}
        self._tell(f"running {' '.join(moved)}"[:200])
        said = self._call(
            [python, *moved], cwd=code / found.folder, environment=self._clean(told | where)
        )
        ids = (folder / "ids").read_text().split() if (folder / "ids").exists() else []
        if not ids:
            raise Conflict("The command succeeded, and recorded no run this time.")
        try:
            return self._services.tracking.get(run=ids[0]).id
        except NotFound as error:
            raise Conflict(
                f"The command succeeded, and could not be recorded:\n{said.strip()}"
            ) from error

    def _clean(self, more: dict[str, str]) -> dict[str, str]:
        """Environment variables: the few that programs need, and those that the run had."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return kept | self._environment.variables | more

    def _call(self, command: list[str], cwd: Path, environment: dict[str, str]) -> str:
        """Run a command; gives what it said on its standard error."""
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            told = (done.stderr or done.stdout).strip()[-LONGEST_OUTPUT:]
            notes = "".join(f" {note}" for note in self._notes)
            raise Conflict(
                f"Run '{self._run.id}' failed when it was run again "
                f"(exit code {done.returncode}).{notes} It said:\n{told}"
            )
        return done.stderr
