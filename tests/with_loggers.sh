#!/usr/bin/env bash
# The tests of the loggers that are no dependency, in a fresh virtual environment that is removed afterwards:
#   tests/with_loggers.sh python3.12 [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?"say which interpreter, for example: tests/with_loggers.sh python3.12"}
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"$python" -m venv "$environment"
"$environment/bin/pip" install -q --no-compile torch==2.13.0   # first, as in .ci/run
# Of the extra "test", what these tests use; the rest would take longer to install than the tests to run.
"$environment/bin/pip" install -q --no-compile -e ".[loggers]" hypothesis pytest pytest-randomly pytest-timeout pytest-xdist
"$environment/bin/python" -m pip freeze | grep -iE "^(lightning|wandb|comet[-_]ml|mlflow|swanlab|trackio)=="
"$environment/bin/python" -m pytest -q -n0 tests/sinks/test_every_logger.py tests/sinks/test_registry.py \
    tests/sinks/test_sinks.py "${@:2}"
