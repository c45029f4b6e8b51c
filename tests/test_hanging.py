"""Versions of jaxlib that hang on CPUs are kept from it."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

import quarkaudio_jax

FLAG = "--xla_cpu_multi_thread_eigen"

FFTS = """
import quarkaudio_jax, jax, jax.numpy as jnp
x = jax.random.normal(jax.random.key(0), (96000,))
sizes = 32, 64, 128, 256, 500, 1000, 2000
spectra = jax.jit(lambda x: [jnp.abs(jnp.fft.rfft(y.reshape(-1, n))).mean() for n in sizes for y in (x, x * x)])
for _ in range(200):
    jax.block_until_ready(spectra(x))
"""


def test_many_ffts_at_once_come_to_an_end():
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "2"}
    subprocess.run([sys.executable, "-c", FFTS], env=env, timeout=120, check=True)


@pytest.mark.parametrize(
    "version, given, wanted",
    [
        ("0.11.2", None, f"{FLAG}=false"),
        ("0.11.1", "--xla_a=1", f"--xla_a=1 {FLAG}=false"),
        ("0.11.2", f"{FLAG}=true", f"{FLAG}=true"),
        ("0.10.2", None, None),
        ("0.12.0", "--xla_a=1", "--xla_a=1"),
    ],
)
def test_only_those_versions_get_the_flag(version, given, wanted, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": version}.__getitem__)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if given:
        monkeypatch.setenv("XLA_FLAGS", given)
    quarkaudio_jax._avoid_hanging()
    assert os.environ.get("XLA_FLAGS") == wanted
