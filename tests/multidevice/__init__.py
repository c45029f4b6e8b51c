"""Tests on eight virtual CPU devices, each in a process of its own."""

import json
import os
import subprocess
import sys


def flags(devices: int) -> str:
    """XLA's, for so many virtual devices.

    With the concurrency-optimized scheduler devices may start collectives in different orders, and on a machine with
    fewer cores than devices wait for each other for ever. For the same reason no program should be dispatched before
    the one before has ended. These processes compile more than they compute, so a fifth of their time is saved by letting
    LLVM optimize nothing.
    """
    return (
        f"--xla_force_host_platform_device_count={devices} --xla_cpu_enable_concurrency_optimized_scheduler=false "
        "--xla_cpu_collective_call_terminate_timeout_seconds=60 --xla_backend_optimization_level=0"
    )


ATTEMPTS = 4
"""XLA's CPU runtime may still start independent collectives of one program in different orders (JAX 0.10.2: seven
devices at an all-gather, one at an all-reduce); it gives up after 60 seconds, and another attempt mostly works."""


def run(module: str, *arguments: str) -> dict:
    """The JSON that `python -m tests.multidevice.MODULE ARGUMENTS` prints in its last line, on eight devices."""
    env = dict(os.environ, XLA_FLAGS=flags(8), JAX_PLATFORMS="cpu", JAX_CPU_ENABLE_ASYNC_DISPATCH="false")
    command = [sys.executable, "-m", f"tests.multidevice.{module}", *arguments]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if not done.returncode:
            return json.loads(done.stdout.splitlines()[-1])
        if "Termination timeout" not in done.stderr:
            break
    raise RuntimeError(done.stderr[-3000:])
