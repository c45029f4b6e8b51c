"""Tests on eight virtual CPU devices, each in a process of its own."""

import json
import os
import subprocess
import sys

FLAGS = " ".join(
    [
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    ]
)
"""Eight devices. With the concurrency-optimised scheduler devices may start collectives in different
orders, and on a machine with fewer cores than devices wait for each other for ever. On a busy machine one device
may reach a collective more than 40 seconds, the usual limit, after another; for the same reason no program is
dispatched before the one before has ended.
"""


def train(program: str, mesh: str) -> dict:
    """What `tests.multidevice.losses` prints for a program and a mesh (data,fsdp,tensor)."""
    env = dict(os.environ, XLA_FLAGS=FLAGS, JAX_PLATFORMS="cpu", JAX_CPU_ENABLE_ASYNC_DISPATCH="false")
    command = [sys.executable, "-m", "tests.multidevice.losses", program, mesh]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
