"""Audio to token files: python -m quarkaudio_jax.encode speech.wav music/ --checkpoint=runs/first --output=tokens"""

import argparse
import sys

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import each, report_errors, set_up
from quarkaudio_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.encode` and `quarkaudio encode`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=argv[0], description="Encodes audio files of any rate and length, as mono.")
    parser.add_argument("input", nargs="+", type=outputs.path, help="audio files or folders of them")
    parser.add_argument(
        "--checkpoint", required=True, type=outputs.path, help="a work directory of train, or one of its checkpoints"
    )
    parser.add_argument(
        "--output", required=True, type=outputs.path, help="folder for the token files (NAME.qka, folders kept)"
    )
    outputs.add_overwrite(parser, skip=True)
    parser.add_argument(
        "--features", default="", type=outputs.path, help="folder or hub name of the SSL model, if it is not found"
    )
    parser.add_argument(
        "--threshold", type=float, help="adaptive codec: similarity of neighboring frames at which a new code starts"
    )
    parser.add_argument("--max-group", type=int, help="adaptive codec: frames that one code stands for at most")
    parser.add_argument("--num-codebooks", type=int, help="keep only so many codebooks of each stream, the first ones")
    parser.add_argument(
        "--channel",
        type=_channel,
        metavar="mean|first|N",
        help="which channel is encoded, counted from 1 (default: the mean of all)",
    )
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        run(args)


def _channel(text: str) -> int | None:
    """The channel to read, counted from 0, or None for the mean."""
    if text == "mean":
        return None
    if text != "first" and not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is neither mean nor first nor a number from 1")
    return 0 if text == "first" else int(text) - 1


def run(args: argparse.Namespace) -> None:
    """Encodes every input; a file that can't be is named, the others go on, the exit status tells."""
    from quarkaudio_jax.inference.codec import load_codec
    from quarkaudio_jax.io import audio, token_file
    from quarkaudio_jax.io.stream import ResampledReader

    files = outputs.collect_inputs(args.input, audio.find, args.output, token_file.SUFFIX)
    if not files:
        raise UserError(f"no audio files in {', '.join(args.input)}")
    files = outputs.still_to_do(files, args)
    if not files:
        return
    codec = load_codec(args.checkpoint, args.features)
    if (args.threshold is not None or args.max_group is not None) and not codec.is_adaptive:
        raise UserError(f"{codec.name} has a fixed frame rate: --threshold and --max-group are for adaptive codecs")
    if args.max_group is not None and not 1 <= args.max_group <= codec.cfg.aggregation.max_group:
        raise UserError(f"--max-group is {args.max_group}; {codec.name} allows 1 to {codec.cfg.aggregation.max_group}")
    if args.num_codebooks is not None and not 1 <= args.num_codebooks <= min(codec.num_codebooks):
        raise UserError(f"--num-codebooks is {args.num_codebooks}; {codec.name} has 1 to {min(codec.num_codebooks)}")
    how = dict(threshold=args.threshold, max_group=args.max_group, num_codebooks=args.num_codebooks)

    def one(source, target) -> str:
        with ResampledReader(source, codec.sample_rate, args.channel) as reader:
            try:
                codes = codec.encode_stream(reader, reader.num_samples, **how)
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
            size = reader.num_samples, reader.source_rate, reader.source_channels
            header = codec.header(*size, len(codes[0]), args.num_codebooks)
        size = token_file.write(target, token_file.TokenFile(header, *codes))
        return (
            f"{target}: {header.seconds:.2f} s, {header.num_rows / header.seconds:.2f} codes a second, "
            f"{header.payload_bits / header.seconds / 1000:.2f} kbit/s of codes, "
            f"{size * 8 / header.seconds / 1000:.2f} kbit/s with header ({size} bytes)"
        )

    each(files, one)
