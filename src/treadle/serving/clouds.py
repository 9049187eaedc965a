"""What the clouds say of a server through its environment: which port, and which paths they ask by."""

from collections.abc import Mapping

from treadle.kernel.errors import Invalid
from treadle.serving.server import Routes

DEFAULT_PORT = 8080
LAMBDA = "AWS_LAMBDA_RUNTIME_API"  # where AWS Lambda hands out its events; unset elsewhere


def port_of(environment: Mapping[str, str]) -> int:
    """The port that a cloud asks for: Vertex AI's, then Cloud Run's and Knative's, then SageMaker's, else 8080."""
    for name in ("AIP_HTTP_PORT", "PORT", "SAGEMAKER_BIND_TO_PORT"):
        if environment.get(name):
            if not environment[name].isdecimal() or not 0 < int(environment[name]) < 65536:
                raise Invalid(
                    f"The environment variable {name} is '{environment[name]}', which is no port."
                )
            return int(environment[name])
    return DEFAULT_PORT


def routes_of(environment: Mapping[str, str]) -> Routes:
    """The paths that a cloud asks by, beside those that every server has: Vertex AI's from its variables, and Azure ML's."""
    score, health = environment.get("AIP_PREDICT_ROUTE"), environment.get("AIP_HEALTH_ROUTE")
    return Routes(score=("/score", *([score] if score else [])), health=(health,) if health else ())
