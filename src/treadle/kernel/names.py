"""Names of things as parameters take them: each says what it names, for rights and for help."""

from typing import Annotated

from treadle.kernel.operation import Names

ProjectName = Annotated[str, Names("project")]
ExperimentId = Annotated[int, Names("experiment")]
ExperimentName = Annotated[str, Names("experiment's name")]
RunId = Annotated[str, Names("run")]
NewRunId = Annotated[str, Names("run that may have begun")]
LoggedModelId = Annotated[str, Names("logged model")]
TraceId = Annotated[str, Names("trace")]
PipelineId = Annotated[str, Names("pipeline")]
StudyName = Annotated[str, Names("study")]
VerdictId = Annotated[str, Names("verdict")]
ModelName = Annotated[str, Names("model")]
NewModelName = Annotated[str, Names("model's name")]
VersionRef = Annotated[str, Names("version")]
EndpointName = Annotated[str, Names("endpoint")]
Location = Annotated[str, Names("location")]
ErasureId = Annotated[str, Names("erasure")]
RolloutId = Annotated[str, Names("rollout")]
ContentDigest = Annotated[str, Names("content")]
IncidentId = Annotated[int, Names("incident")]
SilenceId = Annotated[str, Names("silence")]
