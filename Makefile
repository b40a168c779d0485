PY ?= python3
BIN = .venv/bin
JOBS ?= 2

.PHONY: run test lab clean
.DELETE_ON_ERROR:

# --without-pip: Debian splits ensurepip off, and `pip --python` needs no second pip.
.venv/.done: requirements.lock pyproject.toml
	$(PY) -m venv --without-pip --clear .venv
	$(PY) -m pip --python $(BIN)/python install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(PY) -m pip --python $(BIN)/python install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
