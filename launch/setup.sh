# shellcheck shell=bash
# Sourced by the other scripts: a virtual environment in .venv with this project installed.
# Usage: source launch/setup.sh EXTRA[,EXTRA...]     PYTHON=... chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $PYTHON is older than Python 3.11; set PYTHON to a newer one" >&2
  exit 1
}
if [ ! -x .venv/bin/python ]; then
  echo "making a virtual environment in .venv"
  "$PYTHON" -m venv .venv
fi
if [ ! -f .venv/installed-"$1" ] || [ pyproject.toml -nt .venv/installed-"$1" ]; then
  echo "installing (a minute or two)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$1]"
  touch .venv/installed-"$1"
fi
