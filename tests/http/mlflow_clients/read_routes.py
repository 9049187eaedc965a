"""Prints what an installed MLflow says of its routes: ``CLIENT'S-PYTHON read_routes.py``.

The table comes from the service descriptors, from the handlers' lists of validators, and from the
routes of the two web applications; see ``test_routes.py`` for how to renew the vendored file.
"""

import ast
import json
import re
from pathlib import Path

import mlflow
from google.protobuf.descriptor import FieldDescriptor
from mlflow import server
from mlflow.protos import databricks_pb2
from mlflow.protos.mlflow_artifacts_pb2 import MlflowArtifactsService
from mlflow.protos.model_registry_pb2 import ModelRegistryService
from mlflow.protos.service_pb2 import MlflowService
from mlflow.server import handlers

try:
    from mlflow.protos.webhooks_pb2 import WebhookService

    SERVICES = [MlflowService, ModelRegistryService, MlflowArtifactsService, WebhookService]
except ImportError:
    SERVICES = [MlflowService, ModelRegistryService, MlflowArtifactsService]

SERVER = Path(server.__file__).parent
NATIVE = {
    "otel_api.py": "/v1/traces",
    "job_api.py": "",
    "gateway_api.py": "",
    "mcp_server_api.py": "/api/3.0/mlflow/mcp-servers",
    "assistant/api.py": "",
}
"""Files with routes of the FastAPI application, and prefixes that are no literals there."""
TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def neat(path):
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
    return re.sub(r"\{(?:\w+\.)?(\w+)(?::path)?\}", r"{\1}", path)


def required():
    """The fields that each handler refuses to miss, in the order of its checks."""
    tree = ast.parse((SERVER / "handlers.py").read_text(encoding="utf-8"))
    found = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        inner = re.findall(r"path=f'(\w+)\[\{idx\}\]\.(\w+)'", ast.unparse(function))
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "_get_request_message":
                schema = next((one.value for one in call.keywords if one.arg == "schema"), None)
                if isinstance(schema, ast.Dict):
                    found[function.name] = [
                        *(
                            key.value
                            for key, checks in zip(schema.keys, schema.values, strict=True)
                            if "_assert_required" in ast.unparse(checks)
                        ),
                        *(f"{field}[].{key}" for field, key in inner),
                    ]
    return found


def kind(field, messages):
    name = TYPES[field.type]
    if field.message_type is not None:
        name = field.message_type.name
        if field.message_type.full_name.startswith("google.protobuf."):
            return f"google.{name}"
        if field.message_type.GetOptions().map_entry:
            return "map"
        if name not in messages:
            messages[name] = {}
            messages[name] = fields(field.message_type, messages)
    if field.enum_type is not None:
        name = "|".join(value.name for value in field.enum_type.values)
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
    return name + ("[]" if repeated else "")


def fields(message, messages):
    return {field.name: kind(field, messages) for field in message.fields}


def service_routes(messages):
    wanted = required()
    handled = {
        f"{method} {neat(path)}": handler.__name__
        for path, handler, methods in handlers.get_endpoints()
        for method in methods
    }
    for service in SERVICES:
        for method in service.DESCRIPTOR.methods:
            request = method.input_type
            for point in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                path = neat(f"/api/{point.since.major}.0{point.path}")
                facts = {"fields": fields(request, messages)}
                if wanted.get(handled[f"{point.method} {path}"]):
                    facts["required"] = wanted[handled[f"{point.method} {path}"]]
                yield f"{point.method} {path}", facts


def flask_routes():
    known = [(neat(path), methods) for path, _, methods in handlers.get_endpoints()]
    known += [
        (neat(rule.rule), sorted(rule.methods - {"HEAD", "OPTIONS"}))
        for rule in server.app.url_map.iter_rules()
    ]
    for path, methods in known:
        for method in methods:
            yield f"{method} {path}", {}


def native_routes():
    """Routes of the FastAPI application, which need more libraries to be imported than clients."""
    for name, given in NATIVE.items():
        if not (SERVER / name).exists():
            continue
        tree = ast.parse((SERVER / name).read_text(encoding="utf-8"))
        prefixes = [
            word.value.value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "APIRouter"
            for word in call.keywords
            if word.arg == "prefix" and isinstance(word.value, ast.Constant)
        ]
        prefix = prefixes[0] if prefixes else given
        for function in (n for n in ast.walk(tree) if hasattr(n, "decorator_list")):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute):
                    path = getattr(mark.args[0], "value", None) if mark.args else ""
                    if "router" in ast.unparse(mark.func.value) and isinstance(path, str):
                        yield f"{mark.func.attr.upper()} {neat(prefix + path)}", {}


def permission_routes():
    """Routes of the plug-in for users and permissions; the first word says the method."""
    import importlib.util

    try:
        spec = importlib.util.spec_from_file_location("paths", SERVER / "auth" / "routes.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return
    methods = {"GET": "GET", "LIST": "GET", "UPDATE": "PATCH", "DELETE": "DELETE"}
    for name, path in vars(module).items():
        if name.startswith("AJAX_"):
            continue
        if isinstance(path, str) and re.search(r"mlflow/(users|roles|.*permissions)/", path):
            yield f"{methods.get(name.partition('_')[0], 'POST')} {neat(path)}", {}


messages = {}
routes = {}
for source in (service_routes(messages), flask_routes(), native_routes(), permission_routes()):
    for route, facts in source:
        mirror = route.replace(" /ajax-api/", " /api/")
        if mirror not in routes:
            routes.setdefault(route, facts)
print(json.dumps({"version": mlflow.__version__, "routes": routes, "messages": messages}))
