#!/usr/bin/env bash
# The suite under another interpreter, in a fresh virtual environment that is removed afterwards:
#   tests/run_with.sh python3.10 [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?"say which interpreter, for example: tests/run_with.sh python3.10"}
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

"$python" -m venv "$environment"
"$environment/bin/pip" install -q torch==2.13.0   # first, as in .ci/run
"$environment/bin/pip" install -q -e ".[test]"
"$environment/bin/python" -m pytest "${@:2}"
