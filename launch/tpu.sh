#!/usr/bin/env bash
# Trains on Cloud TPU: one TPU VM, a slice of several hosts, or several slices, by a queued resource.
#
#   bash launch/tpu.sh create --name=codec --zone=us-east5-a --type=v5litepod-16
#   bash launch/tpu.sh train  --name=codec --zone=us-east5-a -- --config=configs/codec48k.py --workdir=/mnt/runs/codec
#   bash launch/tpu.sh status --name=codec --zone=us-east5-a
#   bash launch/tpu.sh delete --name=codec --zone=us-east5-a
#
# --type     v5litepod-4 is one TPU VM; v5litepod-16, v5p-16, v6e-16 and larger are slices of several hosts
# --slices   so many of them (default 1); `train` then needs the same --slices, and splits batches between them
# --spot     capacity that can be taken away: `train` again goes on from the newest checkpoint
# --project  the Google Cloud project (default: gcloud's)
# --dry-run  print what would be run
#
# `train` installs the project from REPO (default: this checkout's git remote) on every host. --workdir must be a
# folder that all hosts share, such as a bucket mounted with gcsfuse.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

action=${1:-}
[ $# -gt 0 ] && shift
name='' zone='' type='' project='' slices=1 spot=''
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --slices=*) slices=${1#*=} ;;
    --spot) spot=1 ;;
    --dry-run) DRY_RUN=1 ;;
    --) shift && break ;;
    *) fail "unknown option $1" ;;
  esac
  shift
done
need name
need zone
[[ $slices =~ ^[1-9][0-9]*$ ]] || fail "--slices=$slices is not a number"
where=(--zone="$zone")
[ -n "$project" ] && where+=(--project="$project")

# The software version that goes with a type of TPU.
version() {
  case $type in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) fail "--type=$type is not v5litepod-N, v5p-N or v6e-N" ;;
  esac
}

case $action in
  create)
    need type
    nodes=(--node-id="$name")
    [ "$slices" -gt 1 ] && nodes=(--node-count="$slices" --node-prefix="$name")
    more=()
    [ -n "$spot" ] && more=(--spot)
    software=$(version)
    run gcloud compute tpus queued-resources create "$name" "${where[@]}" "${nodes[@]}" \
      --accelerator-type="$type" --runtime-version="$software" "${more[@]}"
    ;;
  train)
    [ $# -gt 0 ] || fail "nothing behind --: give --config=... and --workdir=..."
    arguments=("$@")
    # Slices come first in JAX's order of devices: replicas lie in different slices, parameters within one.
    [ "$slices" -gt 1 ] && arguments+=("--config.mesh.data=$slices" --config.mesh.fsdp=-1)
    command=$(host_command tpu "${arguments[@]}")
    if [ "$slices" -eq 1 ]; then
      run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$command"
    else
      pids=()
      for ((i = 0; i < slices; i++)); do
        one=(run gcloud compute tpus tpu-vm ssh "$name-$i" "${where[@]}" --worker=all --command="$command")
        if [ -n "$DRY_RUN" ]; then
          "${one[@]}"
        else
          "${one[@]}" &
          pids+=($!)
        fi
      done
      for pid in "${pids[@]}"; do wait "$pid"; done
    fi
    ;;
  status) run gcloud compute tpus queued-resources describe "$name" "${where[@]}" ;;
  delete) run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force ;;
  *) fail "the first argument is create, train, status or delete, not '$action'" ;;
esac
