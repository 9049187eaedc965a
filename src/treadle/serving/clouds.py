"""Reads what clouds demand of a server from its environment: the port and the paths."""

from collections.abc import Mapping

from treadle.kernel.errors import Invalid
from treadle.serving.server import Routes

DEFAULT_PORT = 8080
LAMBDA = "AWS_LAMBDA_RUNTIME_API"  # the host of AWS Lambda's runtime API; unset elsewhere


def port_of(environment: Mapping[str, str]) -> int:
    """Return the port: Vertex AI's, else Cloud Run's and Knative's, else SageMaker's, else 8080.

    Args:
        environment: The environment variables.

    Raises:
        Invalid: A variable names no port.
    """
    for name in ("AIP_HTTP_PORT", "PORT", "SAGEMAKER_BIND_TO_PORT"):
        if environment.get(name):
            if not environment[name].isdecimal() or not 0 < int(environment[name]) < 65536:
                raise Invalid(
                    f"The environment variable {name} is '{environment[name]}', which is no port."
                )
            return int(environment[name])
    return DEFAULT_PORT


def routes_of(environment: Mapping[str, str]) -> Routes:
    """Return the paths that clouds ask for: Vertex AI's from its variables, and Azure ML's.

    Args:
        environment: The environment variables.
    """
    score = environment.get("AIP_PREDICT_ROUTE")
    health = environment.get("AIP_HEALTH_ROUTE")
    return Routes(score=("/score", *([score] if score else [])), health=(health,) if health else ())
