#!/usr/bin/env bash
# The suite under another interpreter and with other versions, in a fresh virtual environment that is removed afterwards:
#   tests/run_with.sh python3.10 [newest | oldest | oldest-torch] [arguments of pytest]
# "oldest" are the oldest versions that pyproject.toml declares, with PyTorch as in .ci/run; "oldest-torch" its oldest too.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?"say which interpreter, for example: tests/run_with.sh python3.10"}
torch="torch==2.13.0" floors="" warnings=()
case ${2:-newest} in
    newest) ;;
    oldest) floors=$("$python" tests/floors.py | grep -v ^torch==) ;;
    oldest-torch) floors=$("$python" tests/floors.py) torch=$(grep ^torch== <<< "$floors") ;;
    *) echo "tests/run_with.sh: $2 given; say newest, oldest or oldest-torch." >&2 && exit 2 ;;
esac
# Newer packages, Python and PyTorch too, tell old ones what has changed since; that is no fault of this package.
if [ "$floors" ]; then warnings=(-W ignore::DeprecationWarning -W ignore::FutureWarning -W ignore::ResourceWarning); fi

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"$python" -m venv "$environment"
echo "$floors" > "$environment/floors.txt"
"$environment/bin/pip" install -q --upgrade pip   # old ones search for hours among versions that fit each other not
"$environment/bin/pip" install -q "$torch"        # first, as in .ci/run
"$environment/bin/pip" install -q -e ".[test]" "$torch" --constraint "$environment/floors.txt"
"$environment/bin/python" -m pip freeze | grep -iE "^(torch|lightning|torchmetrics|numpy|scipy|matplotlib|pillow|jinja2|wandb)=="
"$environment/bin/python" -m pytest "${warnings[@]}" "${@:3}"
