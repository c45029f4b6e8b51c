#!/usr/bin/env bash
# Trains on a GKE cluster with TPU node pools and the JobSet controller (https://jobset.sigs.k8s.io).
#
#   bash launch/jobset.sh --name=codec --accelerator=tpu-v5-lite-podslice --topology=4x4 --chips=4 --hosts=4 \
#     --image=python:3.12 --claim=runs -- --config=configs/codec48k.py --workdir=/runs/codec
#
# --accelerator, --topology  of the node pool; --hosts: its machines, --chips: TPU chips of each
# --slices   so many node pools (default 1)
# --image    a container with git and Python 3.11 or newer; the project is installed from REPO (default: git remote)
# --claim    a PersistentVolumeClaim that all hosts may write, mounted at /runs
# --restarts how often a job that was taken away is started again, from its newest checkpoint (default 20)
# --dry-run  print the manifest instead of applying it
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' accelerator='' topology='' chips='' hosts='' image='' claim='' slices=1 restarts=20
options "name accelerator topology chips hosts image claim slices restarts" "" "$@"
for option in name accelerator topology chips hosts image claim; do need $option; done
need_arguments
over_slices "$slices"
command=$(host_command train,tpu "${ARGUMENTS[@]}")

manifest() {
  cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $restarts
  replicatedJobs:
    - name: slice
      replicas: $slices
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 300
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $topology
              containers:
                - name: train
                  image: $image
                  workingDir: /tmp
                  command:
                    - bash
                    - -c
                    - |
                      $command
                  resources:
                    limits:
                      google.com/tpu: $chips
                  volumeMounts:
                    - name: runs
                      mountPath: /runs
              volumes:
                - name: runs
                  persistentVolumeClaim:
                    claimName: $claim
END
}

if [ -n "$DRY_RUN" ]; then
  manifest
else
  manifest | kubectl apply -f -
fi
