# Everything a developer does here; `make help` lists it. Python >= 3.11 and make are all that must be there.
# What is set in the environment or given to make (`make run PORT=9000`) reaches the programs alike: make exports both.

INSTALLED := .venv/.installed
CLIENTS := .venv-clients/.installed
OLDER := .venv-clients-openai-1/.installed .venv-clients-openai-2/.installed
RESPONSES := .venv-clients-responses/.installed
DEPLOY := .venv-deploy/.installed
AUDIT := .venv-audit/.installed
BIN := .venv/bin
GROUPS := --dist loadscope --no-loadscope-reorder

.PHONY: help run test test-clients proofs soak bench check check-deploy audit quick fix install lock
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## the whole service; Ctrl-C stops it (PORT HOST DATA_DIR PROCESSES DATABASE_URL REDIS_URL)
	@exec $(BIN)/python -m deploy.local

test: $(INSTALLED) $(CLIENTS) ## every test, with servers of its own (ARGS="-k wallet" for some)
	@exec $(BIN)/python -m tests.harness.run_again -n 3 $(GROUPS) --durations=40 --durations-min=1 $(ARGS)

test-clients: $(INSTALLED) $(OLDER) $(RESPONSES) ## more foreign clients, about 7 GB: agents, libraries, older and newer ones (NEWEST=1 for the newest versions)
	@sh tests/clients/node/install.sh
	@sh tests/clients/python/install.sh
	@exec $(BIN)/python -m pytest -s -rs --timeout=900 tests/clients/foreign.py tests/clients/foreign_codex.py \
		tests/clients/foreign_agents.py tests/clients/foreign_libraries.py tests/clients/foreign_frameworks.py $(ARGS)

proofs: $(INSTALLED) $(DEPLOY) ## the long fault and fuzzing runs, then what is only measured, with tables of figures (SEED=... repeats a run)
	@export PROOFS=1; failed=0; \
	$(BIN)/python -m pytest -n 2 $(GROUPS) --timeout=3600 tests/faults tests/e2e/test_schema_fuzzing.py tests/integration/queue/test_model.py tests/integration/ledger/test_model.py $(ARGS) || failed=1; \
	$(BIN)/python -m pytest --timeout=3600 tests/faults/measured_*.py $(ARGS) || failed=1; \
	exit $$failed

soak: $(INSTALLED) ## mixed load on one service for MINUTES (30): what it takes of memory, descriptors, connections and keys stays flat
	@PROOFS=1 exec $(BIN)/python -m pytest -q tests/faults/soak.py $(ARGS)

bench: $(INSTALLED) ## cost and latency beside the peers, minutes (PEERS=litellm,portkey installs them; ARGS="growth" for growth)
	@exec $(BIN)/python -m tests.bench $(ARGS)

check: quick ## format, lint, import rules, types
	@$(BIN)/mypy

check-deploy: $(INSTALLED) $(DEPLOY) ## the image, the compose file, the chart, alerts and dashboards, and that faults in them are found
	@$(BIN)/python -m tests.deployment
	@exec $(BIN)/python -m pytest -q -rs tests/deployment/planted.py $(ARGS)

audit: $(INSTALLED) $(AUDIT) ## known vulnerabilities of the locked dependencies; status 2 where nobody can be asked
	@exec $(BIN)/python -m tests.deployment.audit

quick: $(INSTALLED) ## the same without types: what runs before a commit (.pre-commit-config.yaml)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

fix: $(INSTALLED) ## format, and correct what the linter can correct by itself
	@$(BIN)/ruff check --fix --exit-zero --silent .
	@$(BIN)/ruff format .
	@$(BIN)/ruff check .

install: $(INSTALLED) ## fill .venv with the locked versions (PYTHON=python3.12 chooses the Python)

lock: $(INSTALLED) ## resolve pyproject.toml and what tests/clients asks for again into their locks
	@$(BIN)/uv pip compile --quiet --generate-hashes --all-extras --universal --python-version 3.11 \
		--no-header --no-annotate pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --extra otel --universal --python-version 3.11 \
		--no-header --no-annotate -c requirements.lock pyproject.toml -o deploy/requirements-image.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate tests/clients/requirements.in -o tests/clients/requirements.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate tests/clients/responses/requirements.in -o tests/clients/responses/requirements.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate tests/deployment/requirements.in -o tests/deployment/requirements.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate tests/deployment/audit.in -o tests/deployment/audit.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --no-deps --python-version 3.11 \
		--no-header --no-annotate tests/deployment/helm.in -o tests/deployment/helm.lock
	@for major in 1 2; do $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate tests/clients/older/openai-$$major.in -o tests/clients/older/openai-$$major.lock; done
	@for list in tests/clients/python/*.in; do needs=$$(sed -n 's/^# Python >=//p' $$list); \
		$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version $${needs:-3.11} \
		--no-header --no-annotate $$list -o $${list%.in}.lock; done
	@if command -v npm >/dev/null; then for client in tests/clients/node/*/; do (cd $$client && \
		npm update --package-lock-only --no-audit --no-fund --loglevel=error); done; fi

# The stamp comes last, so that an interrupted install starts again.
$(INSTALLED): requirements.lock requirements-uv.lock pyproject.toml deploy/install.sh
	@sh deploy/install.sh "$(PYTHON)"
	@touch $@

$(CLIENTS): $(INSTALLED) tests/clients/requirements.lock tests/clients/install.sh
	@sh tests/clients/install.sh .venv-clients tests/clients/requirements.lock
	@touch $@

$(AUDIT): $(INSTALLED) tests/deployment/audit.lock
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-audit
	@$(BIN)/uv pip install --quiet --python .venv-audit/bin/python --require-hashes -r tests/deployment/audit.lock
	@touch $@

$(DEPLOY): $(INSTALLED) tests/deployment/requirements.lock tests/deployment/helm.lock tests/deployment/install.sh
	@sh tests/deployment/install.sh
	@touch $@

$(RESPONSES): $(INSTALLED) tests/clients/responses/requirements.lock tests/clients/install.sh
	@sh tests/clients/install.sh .venv-clients-responses tests/clients/responses/requirements.lock
	@touch $@

.venv-clients-openai-%/.installed: $(INSTALLED) tests/clients/older/openai-%.lock tests/clients/install.sh
	@sh tests/clients/install.sh .venv-clients-openai-$* tests/clients/older/openai-$*.lock
	@touch $@
