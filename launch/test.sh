#!/usr/bin/env bash
# Installs what the tests need and runs the quick ones; arguments go to pytest (-m "" adds the slow ones).
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
for package in pesq 'visqol-python[lattice]'; do
  module=${package%%-*}
  .venv/bin/python -c "import $module" 2>/dev/null || .venv/bin/python -m pip install --quiet "$package" 2>/dev/null ||
    echo "note: the package $package did not install (it needs a C compiler); its tests will be skipped"
done
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
