"""Says which steps of a run are skipped: by their condition, or since they need a skipped one."""

from reprlib import repr as repr_of

from treadle.kernel.errors import Invalid
from treadle.pipelines.elements import value_of
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.step import StepPlan
from treadle.ports.blobs import Blobs


def is_left_out(blobs: Blobs, pipeline: PipelineRun, step: StepPlan) -> bool:
    """Whether a step is skipped. All that it depends on has ended.

    Args:
        blobs: Where outputs are.
        pipeline: The run.
        step: The step.

    Raises:
        Invalid: The condition is neither true nor false.
    """
    skipped = {one.name for one in pipeline.steps if one.state == "skipped"}
    if any(source in skipped and not step.is_soft(source) for source in step.sources):
        return True
    name = step.options.condition
    if not name:
        return False
    value = _value_of(blobs, pipeline, name)
    if not isinstance(value, bool):
        raise Invalid(
            f"Step '{step.name}' depends on whether '{name}' is true, which is neither true nor "
            f"false: {repr_of(value)}."
        )
    return value is not step.options.condition_value


def _value_of(blobs: Blobs, pipeline: PipelineRun, name: str) -> object:
    source = pipeline.step(name)
    if source is None:
        return pipeline.parameters.get(name)
    return value_of(blobs, source) if source.kind == "value" else f"a {source.kind}"
