"""A training step: audio-seconds a second, and the share of time waiting for data.

python -m benchmarks.train_step --variant=tiny --steps=30
"""

import argparse
import statistics
import tempfile
import time

from benchmarks.common import machine


def main() -> None:
    """Prints one row; the data pipeline runs as in training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="tiny")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=0, help="instead of the variant's own")
    parser.add_argument("--dtype", default="", help="instead of the variant's own")
    args = parser.parse_args()

    from quarkaudio_jax.cli.common import set_up
    from quarkaudio_jax.config import from_config_dict
    from quarkaudio_jax.configs import codec48k
    from quarkaudio_jax.sharding.mesh import global_batch
    from quarkaudio_jax.training.loop import Trainer

    set_up()
    config = codec48k.get_config(args.variant)
    config.data.batch_size = args.batch_size or config.data.batch_size
    config.data.workers = 0
    config.codec.dtype = args.dtype or config.codec.dtype
    with tempfile.TemporaryDirectory() as workdir:
        trainer = Trainer(from_config_dict(config), workdir)
        times, waits = [], []
        for i in range(args.steps + 3):
            start = time.perf_counter()
            batch = next(trainer.batches)
            fetched = time.perf_counter()
            batch = global_batch(batch, trainer.mesh)
            trainer.state, metrics = trainer.train_step(trainer.state, batch)
            float(metrics["loss/total"])
            if i >= 3:
                times.append(time.perf_counter() - start)
                waits.append(fetched - start)
        trainer.checkpoints.close()
        seconds = trainer.cfg.data.batch_size * trainer.program.crop.seconds
    print(f"\n{machine()}\n")
    print(
        "| variant | dtype | batch | audio a step, s | step, s (median) | audio-seconds a second | waiting for data |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    median, share = statistics.median(times), 100 * sum(waits) / sum(times)
    cfg = trainer.cfg
    print(
        f"| {args.variant} | {cfg.codec.dtype} | {cfg.data.batch_size} | {seconds:.1f} | {median:.3f} | "
        f"{seconds / median:.1f} | {share:.2f} % |"
    )


if __name__ == "__main__":
    main()
