"""Decode token files to audio at the codec's sample rate, mono or, of a stereo codec, stereo.

quarkaudio decode tokens/ --output=decoded
quarkaudio decode tokens/ --checkpoint=runs/first --output=decoded
quarkaudio decode tokens/ --checkpoint=mono2stereo.ckpt --azimuth=90 --output=from_the_left
"""

import argparse
import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import codec_source, process_files, report_errors, set_up
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.report.progress import progress


def _parser() -> options.Parser:
    parser = options.Parser("quarkaudio decode", __doc__)
    group = parser.add_argument_group("input and output")
    options.add_inputs(group, "token files (.qka) or folders of them")
    options.add_path(group, "output", "folder for the audio files", required=True)
    options.add_overwrite(group, skip=True)
    group.add_argument("--format", choices=("wav", "flac"), default="wav", help="file format (default: wav)")
    group = parser.add_argument_group("model")
    options.add_codec(group, "the codec that the files were encoded with")
    group.add_argument(
        "--any-weights", action="store_true", help="accept files of the same codec made with other weights"
    )
    group = parser.add_argument_group("mono to stereo", "for codecs with a mapping of mono to stereo")
    options.add_number(group, "azimuth", "degrees, 0 in front, 90 to the left, -90 to the right", float)
    options.add_number(group, "elevation", "degrees, 90 above (default: 0)", float)
    options.add_number(group, "distance", "meters, 0 to 5 (default: 1)", float)
    return parser


def _position(args: argparse.Namespace, codec) -> tuple[float, float, float] | None:
    """Azimuth, elevation and distance, or None if they are not given; UsageError if they can't be used."""
    from quarkaudio_jax.codec.inputs import check_position

    if args.azimuth is None:
        if args.elevation is not None or args.distance is not None:
            raise UsageError("--elevation and --distance need --azimuth")
        return None
    if not codec.can_spatialize:
        raise UsageError(f"{codec.name} has no mapping of mono to stereo: --azimuth is for codecs that have one")
    elevation, distance = (default if x is None else x for x, default in ((args.elevation, 0.0), (args.distance, 1.0)))
    check_position(args.azimuth, elevation, distance, 1)
    return args.azimuth, elevation, distance


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio decode`."""
    args = _parser().parse_args(options.arguments(argv))
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Decodes every input; SystemExit lists the files that could not be decoded."""
    from quarkaudio_jax.codec.chunked import ChunkSpec
    from quarkaudio_jax.inference.codec import load_codec
    from quarkaudio_jax.io import token_file
    from quarkaudio_jax.io.stream import Writer

    def find(folder):
        return sorted(pathlib.Path(folder).rglob(f"*{token_file.SUFFIX}"))

    files = outputs.collect_inputs(args.input, find, args.output, f".{args.format}")
    if not files:
        raise UserError(f"no token files ({token_file.SUFFIX}) in {', '.join(args.input)}")
    files = outputs.remaining(files, args)
    if not files:
        return
    codec = load_codec(codec_source(args.checkpoint), encoding=False)
    position = _position(args, codec)

    def decode(source, target) -> str:
        file = token_file.read(source)
        codec.check(file, str(source), args.any_weights)
        header, acoustic, semantic, durations, spatial = file
        chunk_spec = ChunkSpec(header.chunk_frames, header.context_frames)
        blocks = codec.decode_stream(acoustic, semantic, header.num_samples, chunk_spec, durations, spatial, position)
        with Writer(target, header.sample_rate, codec.channels) as writer:
            for samples in progress(blocks, chunk_spec.num_windows(header.num_frames), "windows"):
                writer.write(samples)
        return f"{target}: {header.seconds:.2f} s at {header.sample_rate} Hz"

    process_files(files, decode)
