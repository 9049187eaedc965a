"""The lines of a spool's ``facts.jsonl``: what happens rarely in a run, and how it ends."""

from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.tracking.model import Dataset, Status


class Begin(Entity):
    """How a run begins.

    Attributes:
        experiment: Name of the experiment.
        project: Name of the project, or ''.
        name: Name of the run, or ''.
        user: Who started the run.
        started_at: Time at which the run started.
    """

    experiment: str
    project: str
    name: str
    user: str
    started_at: datetime


class KeptFile(Entity):
    """An attached file.

    Attributes:
        path: Path among the run's artifacts.
        copy: Name of the copy in ``files/``.
        bytes: Size in bytes.
    """

    path: str
    copy: str
    bytes: int


class KeptTree(Entity):
    """An attached folder that is one artifact.

    Attributes:
        path: Path among the run's artifacts.
        files: Name of the copy in ``files/``, by path within the folder.
    """

    path: str
    files: dict[str, str]


class KeptSeries(Entity):
    """A packed piece of a metric's series.

    Attributes:
        key: Name of the metric.
        piece: Name of the piece in ``series/``.
    """

    key: str
    piece: str


class UsedData(Entity):
    """Data that the run has read.

    Attributes:
        dataset: Name, digest and source of the data.
        source: Path of the file or folder whose content is to be stored, or ''.
    """

    dataset: Dataset
    source: str = ""


class End(Entity):
    """How a run ends.

    Attributes:
        status: How the run ended.
        ended_at: Time at which the run ended.
    """

    status: Status
    ended_at: datetime


class Line(Entity):
    """One line of ``facts.jsonl``: what was added at once.

    Attributes:
        begin: The start of the run.
        keys: Metrics that are used for the first time; each gets the next number.
        params: Parameters that were set.
        tags: Tags that were set.
        series: A piece of a series.
        file: An attached file.
        tree: An attached folder.
        data: Data that the run has read.
        end: The end of the run.
    """

    begin: Begin | None = None
    keys: list[str] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    series: KeptSeries | None = None
    file: KeptFile | None = None
    tree: KeptTree | None = None
    data: UsedData | None = None
    end: End | None = None
