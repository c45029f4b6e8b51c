"""Decode token files to mono audio at the codec's sample rate.

quarkaudio decode tokens/ --checkpoint=runs/first --output=decoded
"""

import argparse
import pathlib

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import process_files, report_errors, set_up
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
    options.add_path(group, "checkpoint", "the codec that the files were encoded with", required=True)
    group.add_argument(
        "--any-weights", action="store_true", help="accept files of the same codec made with other weights"
    )
    return parser


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
    codec = load_codec(args.checkpoint, encoding=False)

    def decode(source, target) -> str:
        file = token_file.read(source)
        codec.check(file, str(source), args.any_weights)
        header, acoustic, semantic, durations = file
        chunk_spec = ChunkSpec(header.chunk_frames, header.context_frames)
        blocks = codec.decode_stream(acoustic, semantic, header.num_samples, chunk_spec, durations)
        with Writer(target, header.sample_rate) as writer:
            for samples in progress(blocks, chunk_spec.num_windows(header.num_frames), "windows"):
                writer.write(samples)
        return f"{target}: {header.seconds:.2f} s at {header.sample_rate} Hz"

    process_files(files, decode)
