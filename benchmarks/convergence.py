"""Convergence of codec48k on real audio: held-out distances by minutes of training.

    python -m benchmarks.convergence --variant=tiny --minutes=10 --workdir=runs/convergence

Evaluation and compilation do not count as training time. Pictures and sounds are in
WORKDIR/samples.
"""

import argparse
import time

from benchmarks.common import audio_folder, machine


def main() -> None:
    """Trains, evaluates after some minutes each, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="tiny")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workdir", required=True)
    args = parser.parse_args()

    from quarkaudio_jax.cli.common import set_up
    from quarkaudio_jax.config import from_config_dict
    from quarkaudio_jax.configs import codec48k
    from quarkaudio_jax.sharding.mesh import global_batch
    from quarkaudio_jax.training.loop import Trainer

    set_up()
    folder = audio_folder()
    config = codec48k.get_config(args.variant)
    config.data.speech.paths = f"{folder}/speech,{folder}/codec,{folder}/tasks/sr/clean,{folder}/tasks/vc/source"
    config.data.events.paths = f"{folder}/events,{folder}/tasks/edit/source,{folder}/tasks/lass/source"
    config.data.music.paths = ""
    config.data.heldout = 0.1
    trainer = Trainer(from_config_dict(config), args.workdir)
    marks = [m for m in (0, 1, 5, 10, 15, 30, 60) if m <= args.minutes]
    rows, trained, waited, step = [], 0.0, 0.0, 0
    while True:
        if marks and trained >= 60 * marks[0]:
            rows.append((marks.pop(0), step, trainer.evaluate(step, trainer.state)))
            print(rows[-1], flush=True)
            if not marks:
                break
        start = time.perf_counter()
        batch = global_batch(next(trainer.batches), trainer.mesh)
        waited += time.perf_counter() - start
        trainer.state, metrics = trainer.train_step(trainer.state, batch)
        float(metrics["loss/total"])
        trained += time.perf_counter() - start
        step += 1
    trainer.checkpoints.save(step, trainer.state, trainer.batches, trainer.cfg, trainer.bad_steps.state())
    trainer.checkpoints.close()
    audio_seconds = step * trainer.cfg.data.batch_size * trainer.program.crop.seconds
    print(
        f"\n{machine()}; codec48k:{args.variant}, {step} steps, {audio_seconds / trained:.1f} audio-seconds a second,"
    )
    print(f"{100 * waited / trained:.2f} % of the time waiting for data\n")
    print("| minutes | steps | mel distance | STFT distance | SSL error |\n| ---: | ---: | ---: | ---: | ---: |")
    for minutes, at, means in rows:
        values = " | ".join(f"{means[f'heldout/{n}']:.3f}" for n in ("mel_distance", "stft_distance", "ssl_error"))
        print(f"| {minutes} | {at} | {values} |")


if __name__ == "__main__":
    main()
