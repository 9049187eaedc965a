# Every target works in a fresh clone on a machine with Python >= 3.11 and make. Nothing else has to be typed first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SOURCES := src tests benchmarks

.PHONY: demo test bench bench-rollouts bench-serving bench-tracking format clean .venv .clients .peers .peers-serving

demo: .venv ## a year of flights in a good minute
	rm -rf treadle-demo
	$(BIN)/treadle demo --home treadle-demo

test: .venv .clients ## everything that CI checks
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest --numprocesses 2 --dist loadfile

bench: .venv ## the quick ones, one JSON line each
	$(BIN)/python benchmarks/bench_start.py

bench-serving: .venv .peers-serving ## a model server beside the bare limit and other servers: a quarter of an hour; wants wrk
	$(BIN)/python benchmarks/bench_serving.py

bench-rollouts: .venv ## how often the gates are wrong, in 10,000 simulated rollouts: minutes
	$(BIN)/python benchmarks/sim_rollouts.py

bench-tracking: .venv .peers ## tracking beside the real MLflow server
	$(BIN)/python benchmarks/bench_tracking.py

.peers: .peers/ready
.peers-serving: .peers-serving/ready

.peers-serving/ready: benchmarks/serving_peers.txt
	$(PYTHON) -m venv .peers-serving
	.peers-serving/bin/pip install -qq --disable-pip-version-check --requirement $<
	touch $@

.peers/ready: benchmarks/peers.txt
	$(PYTHON) -m venv .peers
	.peers/bin/pip install -qq --disable-pip-version-check --requirement $<
	touch $@

format: .venv
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.venv: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed and was not found))
	@echo "Making .venv with everything that the tests and the demo need: a minute or two."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(BIN)/pip install -qq --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

# The real clients that tests work with, each in an environment of its own: MLflow's walk its protocol, W&B's writes runs to import,
# Triton's and KServe's ask the model server, and schemathesis tries whatever the OpenAPI document allows.
CLIENTS := .clients/mlflow2/ready .clients/mlflow3/ready .clients/openapi/ready .clients/serving/ready .clients/wandb/ready

.clients: $(CLIENTS)

.clients/mlflow2/ready: tests/http/mlflow_clients/mlflow2.txt
.clients/mlflow3/ready: tests/http/mlflow_clients/mlflow3.txt
.clients/openapi/ready: tests/http/openapi_client.txt
.clients/serving/ready: tests/serving/clients/serving.txt
.clients/wandb/ready: tests/interop/wandb.txt

$(CLIENTS): .clients/%/ready:
	@echo "Making .clients/$* with a real client: about half a minute."
	$(PYTHON) -m venv .clients/$*
	.clients/$*/bin/pip install -qq --disable-pip-version-check --requirement $<
	touch $@

clean:
	rm -rf .clients .peers .venv treadle-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
