"""Time and peak memory of importing and exporting PyTorch weights, against the size of the weights.

    python -m benchmarks.convert_memory --variant=hcodec_48k --folder=/tmp/big

Writes a weight file of random values into the folder (5 GB for the default), imports and exports it again.
"""

import argparse
import pathlib
import subprocess
import sys
import time

import numpy as np

from benchmarks.common import machine


def write_weights(variant: str, path: pathlib.Path) -> None:
    """Writes random weights with the names of the public code."""
    from quarkaudio_jax.codec.variants import get_variant
    from quarkaudio_jax.weights.files import write_tensors
    from quarkaudio_jax.weights.hcodec import abstract_variables, export_hcodec

    cfg, rng = get_variant(variant), np.random.default_rng(0)
    import jax

    variables = jax.tree.map(lambda s: 0.02 * rng.standard_normal(s.shape, dtype=np.float32), abstract_variables(cfg))
    write_tensors(path, export_hcodec(cfg, variables))


def measured(*arguments: str) -> tuple[float, float]:
    """(seconds, peak GiB) of a convert command, in a process that has only this child."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'quarkaudio_jax.cli.convert', *sys.argv[1:]], check=True)\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split("PEAK")[1]) / 2**20


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="hcodec_48k")
    parser.add_argument("--folder", required=True)
    args = parser.parse_args()
    folder = pathlib.Path(args.folder)
    weights = folder / "weights.safetensors"
    code = f"from benchmarks.convert_memory import *; write_weights({args.variant!r}, pathlib.Path({str(weights)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    size = weights.stat().st_size / 2**30
    print(f"{machine()}; {args.variant}, {size:.2f} GiB of weights\n")
    print("| command | seconds | peak memory, GiB | times the weights |\n| --- | ---: | ---: | ---: |")
    for name, *arguments in (
        ("import", "import", weights, "--output", folder / "run"),
        ("export", "export", folder / "run", "--output", folder / "out.safetensors"),
    ):
        seconds, peak = measured(*map(str, arguments))
        print(f"| {name} | {seconds:.0f} | {peak:.2f} | {peak / size:.2f} |", flush=True)


if __name__ == "__main__":
    main()
