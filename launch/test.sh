#!/usr/bin/env bash
# Installs what the tests need and runs them; arguments go to pytest (-m "" adds the slow ones).
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
.venv/bin/python -c 'import pesq' 2>/dev/null || .venv/bin/python -m pip install --quiet pesq 2>/dev/null ||
  echo "note: the package pesq did not install (it needs a C compiler); its test will be skipped"
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
