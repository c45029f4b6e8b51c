"""Eight virtual CPU devices against one: the largest relative difference of any metric, by mesh and step.

python -m benchmarks.devices
"""

from tests.multidevice import train

MESHES = ("8,1,1", "1,8,1", "1,1,8", "2,2,2")


def main() -> None:
    """Prints the table."""
    one = train("1,1,1")["metrics"]
    print("| data, fsdp, tensor | step 1 | step 2 | step 3 | worst metric |")
    print("| --- | ---: | ---: | ---: | --- |")
    for mesh in MESHES:
        rows = [
            {k: abs(b[k] - a[k]) / max(abs(a[k]), 1e-9) for k in a}
            for a, b in zip(one, train(mesh)["metrics"], strict=True)
        ]
        worst = max(((v, k) for row in rows for k, v in row.items()))[1]
        print(f"| {mesh} | {' | '.join(f'{max(r.values()):.1e}' for r in rows)} | {worst} |", flush=True)


if __name__ == "__main__":
    main()
