"""Multi-host initialization on TPU pods and clusters."""

import importlib.util
import logging
import os
import urllib.error
import urllib.request

import jax

log = logging.getLogger(__name__)

HEARTBEAT = 30
"""Seconds without a heartbeat after which a host counts as lost and JAX ends the others."""

METADATA_SECONDS = 5
"""Timeout of requests to a TPU VM's metadata server."""


def initialize() -> None:
    """Calls `jax.distributed.initialize()` if there are several hosts.

    They are detected, in this order, by JAX_COORDINATOR_ADDRESS (with JAX_NUM_PROCESSES and JAX_PROCESS_ID, or on a
    cluster that JAX detects), a Slurm job of several tasks, the hosts of a TPU slice in the environment, a multi-slice
    job, and the VM's metadata server, which is queried only if JAX finds TPU chips.
    """
    if jax.distributed.is_initialized():
        return
    env = os.environ
    if "JAX_COORDINATOR_ADDRESS" in env and "JAX_NUM_PROCESSES" in env:
        jax.distributed.initialize(
            env["JAX_COORDINATOR_ADDRESS"],
            int(env["JAX_NUM_PROCESSES"]),
            int(env["JAX_PROCESS_ID"]),
            heartbeat_timeout_seconds=HEARTBEAT,
        )
        source = "JAX_COORDINATOR_ADDRESS"
    else:
        source = _detected()
        if not source:
            return
        log.info("several hosts by %s: waiting for all of them", source)
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT)
    log.info("%d hosts joined by %s; this is host %d", jax.process_count(), source, jax.process_index())


def _detected() -> str:
    """The source by which several hosts are detected; '' if there is one host."""
    env = os.environ
    if "JAX_COORDINATOR_ADDRESS" in env:
        return "JAX_COORDINATOR_ADDRESS"
    if int(env.get("SLURM_NTASKS", "1")) > 1:
        return "Slurm"
    for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
        if "," in env.get(name, ""):
            return name
    if "MEGASCALE_COORDINATOR_ADDRESS" in env:
        return "MEGASCALE_COORDINATOR_ADDRESS"
    named = "TPU_PROCESS_ADDRESSES" in env or "TPU_WORKER_HOSTNAMES" in env
    if not named and _has_tpu() and ("," in _attribute("worker-network-endpoints") or _slices() > 1):
        return "the TPU VM's metadata server"
    return ""


def _has_tpu() -> bool:
    """Whether JAX would use TPU chips of this machine; without any it sets TPU_SKIP_MDS_QUERY on import."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    library = "TPU_LIBRARY_PATH" in os.environ or importlib.util.find_spec("libtpu") is not None
    return "TPU_SKIP_MDS_QUERY" not in os.environ and library and (not platforms or "tpu" in platforms)


def _slices() -> int:
    """Number of slices according to the metadata server's `tpu-env`, lines of KEY: 'value'."""
    lines = (line.partition(":") for line in _attribute("tpu-env").splitlines())
    values = {key.strip(): value.strip().strip("'") for key, _, value in lines}
    return int(values.get("MEGASCALE_NUM_SLICES") or 1)


def _attribute(name: str) -> str:
    """An attribute of this VM from the metadata server; '' if it is not set or there is no server."""
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{server}/computeMetadata/v1/instance/attributes/{name}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a link-local address
    try:
        with opener.open(request, timeout=METADATA_SECONDS) as response:
            return response.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        log.info("no attribute %s of a TPU VM (%s)", name, error)
        return ""
