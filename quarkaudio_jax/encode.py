"""Audio to token files: python -m quarkaudio_jax.encode speech.wav music/ --checkpoint=runs/first --output=tokens"""

import argparse
import sys

import numpy as np

from quarkaudio_jax.cli import UserError, collect_inputs, each, report_errors, set_up


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.encode` and `quarkaudio encode`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=argv[0], description="Encodes audio files of any rate and length (mixed to mono)."
    )
    parser.add_argument("input", nargs="+", help="audio files or folders of them")
    parser.add_argument("--checkpoint", required=True, help="a work directory of train, or one of its checkpoints")
    parser.add_argument("--output", required=True, help="folder for the token files (NAME.qka, folders kept)")
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Encodes every input; a file that can't be is named, the others go on, the exit status tells."""
    from quarkaudio_jax.codec import container
    from quarkaudio_jax.data import audio
    from quarkaudio_jax.data.stream import ResampledReader
    from quarkaudio_jax.inference import load_runner

    files = collect_inputs(args.input, audio.find, args.output, container.SUFFIX)
    if not files:
        raise UserError(f"no audio files in {', '.join(args.input)}")
    runner = load_runner(args.checkpoint)

    def one(source, target) -> str:
        with ResampledReader(source, runner.cfg.sample_rate) as reader:
            parts = list(runner.encode(reader, reader.num_samples))
            header = runner.header(reader.num_samples, reader.source_rate, reader.source_channels)
        acoustic, semantic = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
        size = container.write(target, header, acoustic, semantic)
        payload = header.num_frames * sum(header.bits)
        return (
            f"{target}: {header.seconds:.2f} s, {payload / header.seconds / 1000:.2f} kbit/s of codes, "
            f"{size * 8 / header.seconds / 1000:.2f} kbit/s with header ({size} bytes)"
        )

    each(files, one)


if __name__ == "__main__":
    main()
