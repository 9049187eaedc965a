"""Serves a stock MLflow over SQLite: ``CLIENT'S-PYTHON stock_server.py FOLDER``.

Prints its port.
"""

import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
os.environ |= {
    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
    "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{folder}/mlflow.db",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "files"),
    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
}

from mlflow.server import app, handlers  # noqa: E402 - it reads the environment
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

handlers._get_tracking_store()
handlers._get_model_registry_store()
WSGIRequestHandler.protocol_version = "HTTP/1.1"
WSGIRequestHandler.log_request = lambda *_: None
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
