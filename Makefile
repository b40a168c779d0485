PY ?= python3
BIN = .venv/bin
JOBS ?= 2
REPORTS = .venv/test-reports

.PHONY: run test lab lint refresh browser clean
.DELETE_ON_ERROR:

run: .venv/.done
	$(BIN)/reclib run --jobs $(JOBS)

# One session: the suite, and nbval on the notebooks as a default run leaves them. `latest` goes away before, because the
# committed outputs are those of a first run, which has none before it. The proof of calibration shows ten thousand
# experiments a rate; tests/test_experiments_calibration.py executes it over a thousand.
# STRICT stands in the recipe, not before it: what a target exports reaches the set-up too, and pip itself warns.
# ipykernel raises a PendingDeprecationWarning of its own at each shutdown.
STRICT = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONWARNINGS=error,ignore::PendingDeprecationWarning
test: .venv/.done browser
	rm -rf $(REPORTS)
	$(STRICT) $(BIN)/reclib run --jobs $(JOBS) --run-id default --reports $(REPORTS)
	rm -f $(REPORTS)/latest
	$(STRICT) RECLIB_REPORTS=$(CURDIR)/$(REPORTS) RECLIB_RUN=default $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder -q -rs \
	  -W error -p no:cacheprovider --nbval --nbval-current-env --nbval-sanitize-with $(CURDIR)/tests/nbval_sanitize.cfg \
	  --ignore=tests/fixtures --ignore=notebooks/proofs/calibration.ipynb tests notebooks/[0-9]*.ipynb notebooks/proofs

lab: .venv/.done
	$(BIN)/jupyter lab --notebook-dir=notebooks

lint: .venv/.done
	$(BIN)/ruff check reclib tests notebooks

# Put the outputs of a default run into the notebooks: make refresh, or make refresh NAMES="03 07".
refresh: .venv/.done
	$(BIN)/python -m reclib.workflow.refresh $(NAMES)

browser:
	@command -v chromium > /dev/null || .ci/browser

clean:
	rm -rf .venv .pytest_cache .hypothesis .ruff_cache

# --without-pip: Debian splits ensurepip off, and `pip --python` needs no second pip.
.venv/.done: requirements.lock pyproject.toml
	$(PY) -m venv --without-pip --clear .venv
	$(PY) -m pip --python $(BIN)/python install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(PY) -m pip --python $(BIN)/python install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
