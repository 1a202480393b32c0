# `make up` and `make test` do all the set-up that they need, with the newest Python of 3.11 to 3.14 that works here,
# or the one that PYTHON names.
BIN := .venv/bin
PYTEST := MAKEFLAGS= $(BIN)/python -m pytest
QUICK := tests/unit tests/integration

# Without what Python compiles, each process that a test starts compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup up dev admin check-providers test test-quick test-pythons lint audit format lock chaos bench guard sheet screenshots clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/ready .venv/ready-dev ## Install everything, for running and for developing

.venv/ready: FORCE
	@sh config/install.sh .venv requirements.txt $@

.venv/ready-dev: .venv/ready FORCE
	@sh config/install.sh .venv requirements-dev.txt $@

FORCE:

up: .venv/ready ## Start Darkroom on this machine; HOST=0.0.0.0 also for its network
	@exec $(BIN)/python -m config.up

dev: setup ## The same for who changes it: programs start anew with each change, templates and JS are live
	@exec $(BIN)/python -m config.up --watch

admin: .venv/ready ## Make an account for the admin
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py createsuperuser

check-providers: .venv/ready ## Send a sample to Gemini and through the storage, as they are configured (costs a picture)
	@SECRET_KEY=only-for-this-check $(BIN)/python manage.py check_providers

test-quick: setup ## Run the tests that need no process, broker, browser or npm, on SQLite: about a minute
	$(PYTEST) --numprocesses 3 --hypothesis-profile quick $(QUICK)

test: setup ## Run all tests: the hook's own, then everything on SQLite, then what depends on the database on PostgreSQL
	tests/system/pages/install.sh
	@if command -v node >/dev/null; then node --test tests/unit/js/*.test.mjs; \
	elif [ -n "$$CI" ]; then echo "The hook's tests need Node." >&2; exit 1; \
	else echo "There is no Node here: the hook's own tests are left out."; fi
	@# Many of these tests wait for processes: more of them at once than there are cores.
	@code=0; \
	$(PYTEST) --numprocesses 3 || code=1; \
	$(PYTEST) --numprocesses 3 --database postgresql -m "not any_database" || code=1; \
	exit $$code

test-pythons: setup ## Run the quick tests on each other Python of 3.11 to 3.14 that is here, also under pyenv
	@sh config/find-python.sh --all | while read -r version python; do \
	  $(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "'$$version'")' && continue; \
	  echo "Python $$version ($$python)"; \
	  { [ -d .venv-$$version ] || $(BIN)/uv venv --quiet --python "$$python" .venv-$$version; } && \
	  $(BIN)/uv pip sync --quiet --require-hashes --python .venv-$$version/bin/python requirements-dev.txt && \
	  $(subst $(BIN),.venv-$$version/bin,$(PYTEST)) --numprocesses 3 -q $(QUICK) </dev/null || exit 1; \
	done

lint: setup ## Everything that can be said about the code without running it
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/django-upgrade --target-version 5.2 $$(git ls-files '*.py')
	SECRET_KEY=only-for-lint $(BIN)/mypy .
	$(BIN)/lint-imports
	SECRET_KEY=$$(head -c 48 /dev/urandom | base64) PUBLIC_URL=https://darkroom.example $(BIN)/python manage.py check --deploy --fail-level WARNING
	SECRET_KEY=only-for-lint DATABASE_URL=sqlite://:memory: $(BIN)/python manage.py makemigrations --check --dry-run

audit: setup ## Look up what is pinned with an advisory service; AUDIT=required fails where there is none
	$(BIN)/python -m tests.tools.audit requirements.txt requirements-dev.txt

chaos: setup ## Break everything, at length: processes, brokers, database, disk, clocks
	$(BIN)/python -m pytest tests/system/chaos --chaos-uploads 450 --timeout 7200
	$(BIN)/python -m pytest tests/system/chaos --chaos-uploads 450 --chaos-brokers amqp,redis --database postgresql --timeout 7200

bench: FIGURES := $${TMPDIR:-/tmp}/bench.json
bench: setup ## Measure polls, jobs, watching, sweeps, webhooks and picture steps, beside rivals; figures as bench.json in the temp folder
	@command -v wrk >/dev/null || { echo "This needs wrk: apt-get install wrk" >&2; exit 1; }
	@rm -f $(FIGURES)
	$(BIN)/python -m tests.benchmarks.poll --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.poll --database sqlite --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.threads --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.jobs --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.jobs --broker embedded --database sqlite --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.jobs --work nothing --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.jobs --work nothing --broker embedded --database sqlite --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.cores --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.watching --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.scale --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.outside --json $(FIGURES)
	$(BIN)/python -m tests.benchmarks.pictures --json $(FIGURES)

guard: setup ## The benches in a short form: fails on a ratio that is much worse than the committed one
	@command -v wrk >/dev/null || { echo "This needs wrk: apt-get install wrk" >&2; exit 1; }
	$(BIN)/python -m tests.benchmarks.guard

sheet: setup ## Originals beside the three looks, of PICTURES or of made ones, as sheet.png in the temp folder
	$(BIN)/python -m tests.tools.sheet $${TMPDIR:-/tmp}/sheet.png $(PICTURES)

screenshots: setup ## Every state of the pages, into the temp folder
	tests/system/pages/install.sh
	$(BIN)/python -m tests.system.pages.screenshots $${TMPDIR:-/tmp}/screenshots

format: setup ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: setup ## Pin the requirements anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-header --no-annotate --upgrade pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-header --no-annotate --upgrade pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt

clean: ## Remove what was installed and what caches keep; never DATA_DIR
	rm -rf .venv .venv-3.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
