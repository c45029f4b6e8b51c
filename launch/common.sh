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

# Sets the variable NAME for each --NAME=VALUE, NAME being one of the words of $1, and to 1 for each --NAME of $2's;
# ARGUMENTS is what stands behind --.
options() {
  local values=" $1 " flags=" $2 " option
  shift 2
  ARGUMENTS=()
  while [ $# -gt 0 ]; do
    option=${1#--}
    option=${option%%=*}
    case $1 in
      --) ARGUMENTS=("${@:2}") && return ;;
      --dry-run) DRY_RUN=1 ;;
      --*=*)
        [[ $values == *" $option "* ]] || fail "unknown option $1"
        printf -v "$option" %s "${1#*=}"
        ;;
      --*)
        [[ $flags == *" $option "* ]] || fail "unknown option $1"
        printf -v "$option" 1
        ;;
      *) fail "unknown option $1" ;;
    esac
    shift
  done
}

# Fails unless something stands behind --, such as --config=... and --workdir=...
need_arguments() {
  [ ${#ARGUMENTS[@]} -gt 0 ] || fail "nothing behind --: give --config=... and --workdir=..."
}

# Lets ARGUMENTS split batches over so many slices: they come first in JAX's order of devices, so that replicas lie in
# different slices, and the parameters of each within one.
over_slices() {
  [[ $1 =~ ^[1-9][0-9]*$ ]] || fail "--slices=$1 is not a number"
  if [ "$1" -gt 1 ]; then ARGUMENTS+=("--config.mesh.data=$1" --config.mesh.fsdp=-1); fi
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
