# shellcheck shell=bash
# Sourced by the launchers: --dry-run, errors, and the command that every host runs.
# Arguments of a launcher: its own options first, then -- and what `quarkaudio_jax.train` takes.
set -euo pipefail

DRY_RUN=
REPO=${REPO:-$(git -C "$(dirname "${BASH_SOURCE[0]}")" remote get-url origin 2>/dev/null || true)}

# Says what is wrong, and where help is, and ends.
fail() {
  echo "error: $1; see the first lines of $0" >&2
  exit 2
}

# Runs a command, or with --dry-run prints it as it could be pasted.
run() {
  if [ -n "$DRY_RUN" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Fails unless a variable, named as its option is, has a value.
need() {
  [ -n "${!1:-}" ] || fail "--${1//_/-}=... is missing"
}

# What a host runs: the project, its environment, training. Starting it again goes on from the newest checkpoint.
host_command() {
  local extra=$1
  shift
  [ -n "$REPO" ] || fail "no git remote to install from: set REPO=https://..."
  printf 'set -e; [ -d quarkaudio_jax_repo ] || git clone --quiet %q quarkaudio_jax_repo; ' "$REPO"
  printf 'cd quarkaudio_jax_repo; bash -c %q; ' "source launch/setup.sh $extra"
  printf 'exec .venv/bin/python -m quarkaudio_jax.train'
  printf ' %q' "$@"
}
