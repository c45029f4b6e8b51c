"""Eight virtual CPU devices against one: the largest relative difference of any metric, by mesh and step.

python -m benchmarks.devices
"""

import json
import os
import subprocess
import sys

MESHES = ("8,1,1", "1,8,1", "1,1,8", "2,2,2")


def losses(mesh: str) -> list[dict[str, float]]:
    """The metrics of three steps on a mesh (data, fsdp, tensor), in a process of its own."""
    env = dict(os.environ, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu")
    command = [sys.executable, "-m", "tests.multidevice.losses", mesh]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return json.loads(done.stdout.splitlines()[-1])["metrics"]


def main() -> None:
    """Prints the table."""
    one = losses("1,1,1")
    print("| data, fsdp, tensor | step 1 | step 2 | step 3 | worst metric |")
    print("| --- | ---: | ---: | ---: | --- |")
    for mesh in MESHES:
        rows = [{k: abs(b[k] - a[k]) / max(abs(a[k]), 1e-9) for k in a} for a, b in zip(one, losses(mesh), strict=True)]
        worst = max(((v, k) for row in rows for k, v in row.items()))[1]
        print(f"| {mesh} | {' | '.join(f'{max(r.values()):.1e}' for r in rows)} | {worst} |", flush=True)


if __name__ == "__main__":
    main()
