"""Token files to audio: python -m quarkaudio_jax.decode tokens/ --checkpoint=runs/first --output=decoded"""

import argparse
import pathlib
import sys

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import each, report_errors, set_up
from quarkaudio_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.decode` and `quarkaudio decode`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=argv[0], description="Decodes token files to mono audio at the codec's rate.")
    parser.add_argument("input", nargs="+", type=outputs.path, help="token files (.qka) or folders of them")
    parser.add_argument(
        "--checkpoint", required=True, type=outputs.path, help="the checkpoint that the files were encoded with"
    )
    parser.add_argument("--output", required=True, type=outputs.path, help="folder for the audio files")
    outputs.add_overwrite(parser, skip=True)
    parser.add_argument("--format", choices=("wav", "flac"), default="wav")
    parser.add_argument(
        "--any-weights", action="store_true", help="decode also what was made with other weights of the same codec"
    )
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Decodes every input; a file that can't be is named, the others go on, the exit status tells."""
    from quarkaudio_jax.codec.chunked import Grid
    from quarkaudio_jax.inference.codec import load_codec
    from quarkaudio_jax.io import token_file
    from quarkaudio_jax.io.stream import Writer

    def find(folder):
        return sorted(pathlib.Path(folder).rglob(f"*{token_file.SUFFIX}"))

    files = outputs.collect_inputs(args.input, find, args.output, f".{args.format}")
    if not files:
        raise UserError(f"no token files ({token_file.SUFFIX}) in {', '.join(args.input)}")
    files = outputs.still_to_do(files, args)
    if not files:
        return
    codec = load_codec(args.checkpoint, encoding=False)

    def one(source, target) -> str:
        file = token_file.read(source)
        codec.check(file, str(source), args.any_weights)
        header, acoustic, semantic, durations = file
        grid = Grid(header.chunk_frames, header.context_frames)
        with Writer(target, header.sample_rate) as writer:
            for samples in codec.decode_stream(acoustic, semantic, header.num_samples, grid, durations):
                writer.write(samples)
        return f"{target}: {header.seconds:.2f} s at {header.sample_rate} Hz"

    each(files, one)
