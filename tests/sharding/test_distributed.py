"""Joining hosts: TPU VMs tell by their metadata server, here one on this machine that speaks its protocol."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from quarkaudio_jax.sharding import distributed

HOST = """
import os, logging, jax
logging.basicConfig(level=logging.INFO)
os.environ.pop("TPU_SKIP_MDS_QUERY", None)  # JAX sets it where there are no TPU chips
jax.config.update("jax_platforms", "cpu")
from quarkaudio_jax.sharding import distributed
distributed.initialize()
print("processes", jax.process_count(), jax.process_index(), jax.distributed.is_initialized())
"""


@contextlib.contextmanager
def metadata_server(attributes, delay=0.0):
    """The address of a server of instance attributes, and the list of what it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            asked.append(name)
            time.sleep(delay)
            good = self.path == f"/computeMetadata/v1/instance/attributes/{name}" and name in attributes
            good = good and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if good else 404)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(attributes[name].encode() if good else b"not found")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()


def attributes(host, hosts, **more):
    """Of host `host` of a slice that a queued resource made."""
    endpoints = ",".join(f"node-{i}:{i}:127.0.0.1" for i in range(hosts))
    return {"agent-worker-number": str(host), "worker-network-endpoints": endpoints, "tpu-env": "", **more}


def started(server, tmp_path, port=0, **env):
    """A process on a machine that JAX takes for a TPU VM (it looks for the library's file), with that server."""
    library = tmp_path / "libtpu.so"
    library.touch()
    names = ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY", "JAX_COORDINATOR_ADDRESS")
    base = {name: value for name, value in os.environ.items() if name not in names}
    base |= {"JAX_FORCE_TPU_INIT": "1", "TPU_LIBRARY_PATH": str(library), "GCE_METADATA_IP": server}
    base |= {"JAX_COORDINATOR_PORT": str(port), **env}
    return subprocess.Popen([sys.executable, "-c", HOST], env=base, text=True, stdout=-1, stderr=-1)


@pytest.mark.slow
def test_hosts_of_a_slice_join_by_the_metadata_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with metadata_server(attributes(0, 2)) as (first, asked), metadata_server(attributes(1, 2)) as (second, _):
        hosts = [started(server, tmp_path, port) for server in (first, second)]
        said = [host.communicate(timeout=120) for host in hosts]
    for number, (out, err) in enumerate(said):
        assert f"processes 2 {number} True" in out, err
        assert f"2 hosts joined by the TPU VM's metadata server; this is host {number}" in err
    assert {"worker-network-endpoints", "agent-worker-number"} <= set(asked)


@pytest.mark.slow
def test_one_host_and_a_cpu_run_wait_for_nobody(tmp_path):
    with metadata_server(attributes(0, 1)) as (server, asked):
        alone = started(server, tmp_path)
        out, err = alone.communicate(timeout=120)
        assert "processes 1 0 False" in out, err
        assert asked == ["worker-network-endpoints", "tpu-env"]
        out, err = started(server, tmp_path, JAX_PLATFORMS="cpu").communicate(timeout=120)
        assert "processes 1 0 False" in out, err
        assert len(asked) == 2


@pytest.fixture
def tpu_vm(monkeypatch, tmp_path):
    """What JAX leaves in the environment of a TPU VM."""
    for name in (
        "TPU_SKIP_MDS_QUERY",
        "JAX_PLATFORMS",
        "TPU_WORKER_HOSTNAMES",
        "SLURM_NTASKS",
        "TPU_PROCESS_ADDRESSES",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPU_LIBRARY_PATH", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize(
    "hosts, tpu_env, found",
    [
        (1, "", ""),
        (4, "", "the TPU VM's metadata server"),
        (1, "ACCELERATOR_TYPE: 'v5litepod-8'\nMEGASCALE_NUM_SLICES: '2'", "the TPU VM's metadata server"),
        (1, "MEGASCALE_NUM_SLICES: ''", ""),
    ],
)
def test_several_hosts_are_told_from_one(tpu_vm, hosts, tpu_env, found):
    with metadata_server(attributes(0, hosts, **{"tpu-env": tpu_env})) as (server, _):
        tpu_vm.setenv("GCE_METADATA_IP", server)
        assert distributed._detected() == found


def test_the_environment_needs_no_server(tpu_vm):
    tpu_vm.setenv("GCE_METADATA_IP", "127.0.0.1:1")
    for name, value, found in (
        ("TPU_WORKER_HOSTNAMES", "a,b", "TPU_WORKER_HOSTNAMES"),
        ("TPU_PROCESS_ADDRESSES", "a:1,b:1", "TPU_PROCESS_ADDRESSES"),
        ("TPU_WORKER_HOSTNAMES", "localhost", ""),
        ("SLURM_NTASKS", "2", "Slurm"),
        ("SLURM_NTASKS", "1", ""),
    ):
        with tpu_vm.context() as only:
            only.setenv(name, value)
            assert distributed._detected() == found


def test_without_chips_or_an_answer_nothing_is_awaited(tpu_vm):
    tpu_vm.setattr(distributed, "METADATA_SECONDS", 0.3)
    with metadata_server(attributes(0, 2), delay=1.0) as (server, asked):
        tpu_vm.setenv("GCE_METADATA_IP", server)
        assert distributed._detected() == ""
        assert len(asked) == 2
        tpu_vm.setenv("TPU_SKIP_MDS_QUERY", "1")
        assert distributed._detected() == "" and len(asked) == 2
    tpu_vm.delenv("TPU_SKIP_MDS_QUERY")
    tpu_vm.setenv("GCE_METADATA_IP", "127.0.0.1:1")  # nobody listens
    assert distributed._detected() == ""
