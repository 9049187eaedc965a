"""What looks at production: an endpoint's windows, one by one, for what is out of bounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import Entity

GROUP = "treadle.monitor"
"""The group of entry points in which a package registers its monitors, each by its name."""

Trigger = Literal["drift", "missed requirement", "stale"]
"""What a finding may set off, as far as ``[retrain]`` in treadle.toml declares it."""


class Needs(Entity):
    """What a monitor needs to be given, beside the window itself and the policy.

    Attributes:
        reference: The training data's profile, and the window's counts over the same bins.
        values: The window's inputs and outputs, row by row.
        calibration: What the version's scores are worth as probabilities, with the champion's
            answers to apply it to.
        labels: Labelled answers. The monitor then looks when the window's labels are due, and
            otherwise as soon as the window has ended.
        windows: How many earlier windows of the endpoint.
    """

    reference: bool = False
    values: bool = False
    calibration: bool = False
    labels: bool = False
    windows: int = 0

    @property
    def reads_rows(self) -> bool:
        """Whether the champion's rows must be read for it, counted or as they are."""
        return self.reference or self.values or self.calibration

    @staticmethod
    def joined(needs: Iterable["Needs"]) -> "Needs":
        """What is enough for each of several monitors.

        Args:
            needs: What each of them needs.
        """
        listed = list(needs)
        return Needs(
            reference=any(need.reference for need in listed),
            values=any(need.values for need in listed),
            calibration=any(need.calibration for need in listed),
            labels=any(need.labels for need in listed),
            windows=max((need.windows for need in listed), default=0),
        )


class Finding(Entity):
    """One thing that a monitor has measured in a window.

    Attributes:
        name: What was checked, such as ``psi`` or a requirement's id.
        subject: The column or metric that was measured.
        value: The measured number; finite.
        threshold: The number it is held against, if there is one.
        low: Lower limit of the value's 95 % interval, if it has one.
        high: Upper limit of it.
        p: P-value of a test, if there was one.
        since: The moment from which the finding holds, as a rule the window's start.
        message: The finding in a sentence, with its number.
        raised: Whether it is out of bounds. What is not raised is a measurement and no event.
        trigger: What it may set off when it is raised; None for what only people act on.
    """

    name: str
    subject: str
    value: float
    since: datetime
    message: str
    raised: bool
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    trigger: Trigger | None = None


class Profile(Protocol):
    """Counts of a column, or of the predictions, over bins chosen on the training data.

    Attributes:
        counts: Rows per bin. Of numbers, the last is the count of missing values.
        edges: Edges between the bins of numbers; empty for text.
        labels: The categories of text, ``(other)`` and ``(missing)`` among them; empty for numbers.
        rows: Rows in total.
    """

    @property
    def counts(self) -> list[int]: ...

    @property
    def edges(self) -> list[float]: ...

    @property
    def labels(self) -> list[str]: ...

    @property
    def rows(self) -> int: ...


class Probabilities(Protocol):
    """What a model's scores are worth as probabilities, by rows that it has not learnt from.

    Attributes:
        rows: Rows of known truth that it rests on.
    """

    @property
    def rows(self) -> int: ...

    def chances(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities (rows, classes), of two classes (rows, 2).

        Args:
            scores: Scores of class 1 (rows,), or of each class (rows, classes).
        """
        ...


class Bound(Protocol):
    """A project's requirement: a bound on a metric, as ``treadle.toml`` declares it.

    Attributes:
        id: The requirement's id.
        metric: Name of a metric of labelled rows, such as ``roc_auc``, or ``latency_ms.p99``.
        at_least: The smallest value that meets it, or None.
        at_most: The largest value that meets it, or None.
        bound: The bound as text.
    """

    @property
    def id(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def at_least(self) -> float | None: ...

    @property
    def at_most(self) -> float | None: ...

    @property
    def bound(self) -> str: ...

    def met_by(self, value: float) -> bool:
        """Whether a value of the metric meets the requirement.

        Args:
            value: The metric's value.
        """
        ...


class Policy(Entity):
    """What the project declares about monitoring.

    Attributes:
        effect: The smallest population stability index that counts as drift.
        min_labels: Labelled answers that a metric is measured on at least.
        labelled: Whether labels are expected at all.
        older_than: The age from which a live model is stale; None for never.
    """

    effect: float = 0.1
    min_labels: int = 100
    labelled: bool = False
    older_than: timedelta | None = None


class WindowFacts(Entity):
    """What is known of a window of an endpoint without any monitor.

    Attributes:
        start: Its first moment.
        end: The moment after its last.
        version: The version that was champion in it, such as ``flights:3``.
        rows: Rows that callers got answers to, from champion and candidates.
        errors: Rows that the champion failed.
        latency_ms_p99: The 99 % quantile of the answers' latency in milliseconds; 0 without rows.
        psi: Column → population stability index, of windows measured before.
        metrics: Metric → value over labelled answers, of windows whose labels have come.
    """

    start: datetime
    end: datetime
    version: str
    rows: int
    errors: int
    latency_ms_p99: float
    psi: dict[str, float] = {}
    metrics: dict[str, float] = {}


def _no_rows() -> NDArray[Any]:
    return np.empty(0)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a monitor is given of one window. What it does not need is empty.

    Attributes:
        endpoint: The endpoint's name.
        project: Its project's name.
        window: The window that is looked at.
        policy: What the project declares about monitoring.
        requirements: The project's requirements.
        version_created_at: When the champion's version was registered; None once it is deleted.
        champion_rows: Rows that the champion answered in the window, or failed.
        reference: Input column → its profile in the training data (``needs.reference``).
        current: Input column → the champion's rows over the same bins (``needs.reference``).
        reference_prediction: The predictions' profile in the training data (``needs.reference``).
        current_prediction: The champion's predictions over the same bins (``needs.reference``).
        inputs: Input column → values (rows,) of the champion's answered rows, float64 with NaN or
            objects with None where missing (``needs.values``).
        outputs: The champion's answers to the same rows, (rows,) or (rows, classes)
            (``needs.values`` or ``needs.calibration``).
        calibration: What the champion's scores are worth as probabilities; None where that is not
            known, or they are none (``needs.calibration``).
        truth: Labels (labelled,) of answered rows, of any version (``needs.labels``): numbers, 0
            and 1 of two classes, or positions in ``classes``.
        score: The answers to the same rows (``needs.labels``): (labelled,), or (labelled, classes)
            of models of several classes.
        classes: Names of the classes of such models; empty for others (``needs.labels``).
        earlier: Earlier windows of the endpoint, newest first, ``needs.windows`` at most.
    """

    endpoint: str
    project: str
    window: WindowFacts
    policy: Policy = field(default_factory=Policy)
    requirements: Sequence[Bound] = ()
    version_created_at: datetime | None = None
    champion_rows: int = 0
    reference: Mapping[str, Profile] = field(default_factory=dict)
    current: Mapping[str, Profile] = field(default_factory=dict)
    reference_prediction: Profile | None = None
    current_prediction: Profile | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    outputs: NDArray[Any] = field(default_factory=_no_rows)
    calibration: Probabilities | None = None
    truth: NDArray[Any] = field(default_factory=_no_rows)
    score: NDArray[Any] = field(default_factory=_no_rows)
    classes: Sequence[str] = ()
    earlier: Sequence[WindowFacts] = ()

    def narrowed(self, needs: Needs) -> "Context":
        """Only what a monitor has said that it needs.

        Args:
            needs: What the monitor needs.
        """
        left_out: dict[str, Any] = {"earlier": self.earlier[: needs.windows]}
        if not needs.reference:
            left_out |= {"reference": {}, "current": {}}
            left_out |= {"reference_prediction": None, "current_prediction": None}
        if not needs.values:
            left_out |= {"inputs": {}}
        if not needs.calibration:
            left_out |= {"calibration": None}
        if not needs.values and not needs.calibration:
            left_out |= {"outputs": _no_rows()}
        if not needs.labels:
            left_out |= {"truth": _no_rows(), "score": _no_rows(), "classes": ()}
        return replace(self, **left_out)


class Monitor(Protocol):
    """Looks at one window of an endpoint and says what it finds.

    - It is made without arguments, by what its entry point in the group ``treadle.monitor`` names.
    - ``name`` is the entry point's name; ``needs`` never changes.
    - ``look`` sees a window once, after its end or, with ``needs.labels``, when its labels are due.
      It keeps nothing between two looks, changes nothing that it is given, and gives the same
      findings for the same context. It may be given a window without rows.
    - What ``look`` raises is recorded with the window as the monitor's failure; the other monitors
      go on, and the window is not looked at again.
    """

    @property
    def name(self) -> str:
        """The monitor's name, which is its entry point's."""
        ...

    @property
    def needs(self) -> Needs:
        """What it must be given."""
        ...

    def look(self, context: Context) -> Sequence[Finding]:
        """Measure a window; what is out of bounds is raised.

        Args:
            context: The window, with what the monitor needs.
        """
        ...
