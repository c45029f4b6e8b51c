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
name='' zone='' type='' project='' slices=1 spot=''
options "name zone type project slices" spot "${@:2}"
need name
need zone
over_slices "$slices"
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
    need_arguments
    command=$(host_command train,tpu "${ARGUMENTS[@]}")
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
