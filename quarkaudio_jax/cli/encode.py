"""Encode audio files of any sample rate and length, as the codec's mono or stereo, to token files.

quarkaudio encode speech.wav --output=tokens
quarkaudio encode speech.wav music/ --checkpoint=runs/first --output=tokens
"""

import argparse

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import codec_source, process_files, report_errors, set_up, track_reads
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.errors import UserError

MEAN = -1
"""Value of --channel for the mean of all channels."""


def _parser() -> options.Parser:
    parser = options.Parser("quarkaudio encode", __doc__)
    group = parser.add_argument_group("input and output")
    options.add_inputs(group)
    options.add_path(group, "output", "folder for the token files (NAME.qka, subfolders kept)", required=True)
    options.add_overwrite(group, skip=True)
    group.add_argument(
        "--channel",
        type=_channel,
        metavar="mean|first|N",
        help="channel to encode as mono, from 1 (default: mean of all; left and right for a stereo codec)",
    )
    group = parser.add_argument_group("model")
    options.add_codec(group, "codec: a work directory of train, a checkpoint, a weight file or a name")
    options.add_features(group)
    group = parser.add_argument_group("codes")
    options.add_number(group, "num-codebooks", "keep only the first N codebooks of each stream")
    options.add_number(
        group, "threshold", "adaptive codec: cosine similarity of frames at which a new group starts", float
    )
    options.add_number(group, "max-group", "adaptive codec: most frames that share a code")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio encode`."""
    args = _parser().parse_args(options.arguments(argv))
    set_up()
    with report_errors():
        run(args)


def _channel(text: str) -> int | None:
    """The channel to read, counted from 0, or MEAN."""
    if text == "mean":
        return MEAN
    if text != "first" and not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is neither mean nor first nor a number from 1")
    return 0 if text == "first" else int(text) - 1


def run(args: argparse.Namespace) -> None:
    """Encodes every input; SystemExit lists the files that could not be encoded."""
    from quarkaudio_jax.inference.codec import load_codec
    from quarkaudio_jax.io import audio, token_file
    from quarkaudio_jax.io.stream import ResampledReader

    files = outputs.collect_inputs(args.input, audio.find, args.output, token_file.SUFFIX)
    if not files:
        raise UserError(f"no audio files in {', '.join(args.input)}")
    files = outputs.remaining(files, args)
    if not files:
        return
    codec = load_codec(codec_source(args.checkpoint), args.features)
    _check_grouping(args, codec)
    if args.num_codebooks is not None and not 1 <= args.num_codebooks <= max(codec.num_codebooks):
        raise UsageError(f"--num-codebooks is {args.num_codebooks}; {codec.name} has 1 to {max(codec.num_codebooks)}")
    channel = None if args.channel == MEAN else args.channel
    channels = codec.channels if args.channel is None else 1
    choices = dict(threshold=args.threshold, max_group=args.max_group, num_codebooks=args.num_codebooks)

    def encode(source, target) -> str:
        with ResampledReader(source, codec.sample_rate, channel, channels) as reader:
            read = track_reads(reader, codec.num_windows(reader.num_samples))
            try:
                codes = codec.encode_stream(read, reader.num_samples, **choices)
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
            header = codec.header(
                reader.num_samples, reader.source_rate, reader.source_channels, len(codes[0]), args.num_codebooks
            )
        size = token_file.write(target, token_file.TokenFile(header, *codes))
        return (
            f"{target}: {header.seconds:.2f} s, {header.num_rows / header.seconds:.2f} codes a second, "
            f"{header.payload_bits / header.seconds / 1000:.2f} kbit/s of codes, "
            f"{size * 8 / header.seconds / 1000:.2f} kbit/s with header ({size} bytes)"
        )

    process_files(files, encode)


def _check_grouping(args: argparse.Namespace, codec) -> None:
    """UsageError if the options of an adaptive codec do not suit this one."""
    if not codec.is_adaptive:
        if args.threshold is not None or args.max_group is not None:
            raise UsageError(
                f"{codec.name} has a fixed frame rate: --threshold and --max-group are for adaptive codecs"
            )
        return
    most = codec.cfg.aggregation.max_group
    if args.max_group is not None and not 1 <= args.max_group <= most:
        raise UsageError(f"--max-group is {args.max_group}; {codec.name} allows 1 to {most}")
