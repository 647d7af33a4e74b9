#!/usr/bin/env bash
# Both distributions, built and checked; then the wheel in an environment that holds what it declares and nothing else:
#   tests/clean_install.sh python3.11
# Afterwards packages are taken away that it can do without: loggers, one Lightning package, both.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python} program=$PWD/tests/callbacks/packages_program.py
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/tools"
"$folder/tools/bin/pip" install -q --no-compile build twine
"$folder/tools/bin/python" -m build -o "$folder/dist" . > /dev/null   # the wheel is built from the source distribution
"$folder/tools/bin/twine" check --strict "$folder"/dist/*             # the index can show the README

"$python" -m venv "$folder/clean"
"$folder/clean/bin/pip" install -q --no-compile torch==2.13.0                      # first, as in .ci/run
"$folder/clean/bin/pip" install -q --no-compile "$folder"/dist/*.whl
cd "$folder"                                                          # away from the sources
export PATH="$folder/clean/bin:$PATH" PYTHONPATH="" OMP_NUM_THREADS=1

expect() {  # the last words that the program prints, then its arguments
    found=$(python -W ignore "$program" "${@:2}" 2> errors.txt | tail -n 1) || { cat errors.txt >&2; exit 1; }
    [[ $found == *"$1" ]] || { echo "tests/clean_install.sh: $1 expected, and not: $found" >&2; exit 1; }
    echo "$(pip list 2> /dev/null | grep -cE '^(lightning|pytorch-lightning|wandb|tensorboard) ') of 4: $found"
}

mviz-lightning --help | grep -q "write the report page"
expect "imported lightning" both lightning.pytorch ""
pip uninstall -q -y wandb tensorboard lightning
expect "imported pytorch_lightning" other pytorch_lightning ""
pip uninstall -q -y pytorch-lightning
expect "run: pip install lightning" neither none ""
