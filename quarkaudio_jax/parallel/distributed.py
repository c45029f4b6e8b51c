"""Joining the other hosts of a pod or cluster, where there are any."""

import os

import jax

HEARTBEAT = 30
"""Seconds of silence after which a host counts as lost, and JAX ends the others."""


def initialize() -> None:
    """`jax.distributed.initialize()` where the environment says that several hosts take part.

    Recognised: JAX_COORDINATOR_ADDRESS (with JAX_NUM_PROCESSES and JAX_PROCESS_ID, or a cluster
    that JAX detects), a TPU pod of several workers, a Slurm job of several tasks.
    """
    if jax.distributed.is_initialized():
        return
    env = os.environ
    workers = env.get("TPU_WORKER_HOSTNAMES", "")
    several = "," in workers or int(env.get("SLURM_NTASKS", "1")) > 1 or "MEGASCALE_COORDINATOR_ADDRESS" in env
    if "JAX_COORDINATOR_ADDRESS" in env and "JAX_NUM_PROCESSES" in env:
        jax.distributed.initialize(
            env["JAX_COORDINATOR_ADDRESS"],
            int(env["JAX_NUM_PROCESSES"]),
            int(env["JAX_PROCESS_ID"]),
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    elif several or "JAX_COORDINATOR_ADDRESS" in env:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT)
