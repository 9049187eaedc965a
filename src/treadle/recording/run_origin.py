"""Records where a run comes from: its source code, its environment, and the run it repeats."""

import logging
import os
from pathlib import Path

from treadle.kernel.errors import TreadleError
from treadle.recording.run_attachments import RunAttachments
from treadle.tracking import environment

log = logging.getLogger("treadle")
RERUN_OF = "treadle.rerun_of"


class RunOrigin(RunAttachments):
    """What reproducing a run needs, attached as the run begins."""

    def _log_origin(self, seed: int | None) -> None:
        """Record what reproducing this run needs; an error there is logged and ends nothing."""
        try:
            root = environment.code_root()
            captured = environment.capture(seed, root=root)
            self.set_tags(_source_tags(captured))
            self.log_json(captured, environment.ENVIRONMENT)
            if root and (files := environment.source_files(root)):
                self._attach_folder(environment.CODE, files)
            if root and captured.changed and (diff := environment.changes(root)):
                self._attach(environment.CHANGES, diff)
        except (OSError, TreadleError) as error:
            log.warning("What reproducing run %s needs could not be noted: %s", self.id, error)


def _source_tags(captured: environment.Environment) -> dict[str, str]:
    """Where a run came from, under the names that MLflow clients look for."""
    program_words = 2 if captured.command[:1] == ["-m"] else 1
    tags = {
        "mlflow.source.name": " ".join(captured.command[:program_words]),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": captured.commit,
        "mlflow.source.git.branch": captured.branch,
        "mlflow.source.git.repoURL": captured.remote,
    }
    return {key: value for key, value in tags.items() if value}


def rerun_tags(id: str) -> dict[str, str]:
    """The tag of a run that ``treadle rerun`` started; the run's id is reported back to it.

    Args:
        id: Id of the run.
    """
    if not os.environ.get("TREADLE_RERUN"):
        return {}
    with Path(os.environ["TREADLE_RERUN_IDS"]).open("a") as file:
        file.write(f"{id}\n")
    return {RERUN_OF: os.environ["TREADLE_RERUN"]}
