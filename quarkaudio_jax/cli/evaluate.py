"""Measures codecs and language models: python -m quarkaudio_jax.evaluate speech/ --checkpoint=runs/first --output=results
or, for a row of the published report, --benchmark=librispeech --data=/data --checkpoint=runs/first --output=results
"""

import argparse
import pathlib
import sys
import tempfile
from typing import Any

from quarkaudio_jax.cli import outputs
from quarkaudio_jax.cli.common import report_errors, set_up, share
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Reconstructs every file of a folder with a codec, or runs a row of the published report with a "
        "codec or a language model, and measures what comes out. Outputs are compared with targets at the lower of "
        "both rates, mixed to mono.",
    )
    parser.add_argument(
        "reference", nargs="?", type=outputs.path, help="a folder of audio, or one file, to reconstruct"
    )
    parser.add_argument("--benchmark", help="a row of the published report; see --list")
    parser.add_argument("--data", type=outputs.path, help="the folder that holds its data set")
    parser.add_argument("--list", action="store_true", help="print the rows, their layouts and what to fetch")
    parser.add_argument("--checkpoint", type=outputs.path, help="a codec or, for tasks, a language model")
    parser.add_argument(
        "--codec", type=outputs.path, help="of a language model: the codec that its data was prepared with"
    )
    made = "instead of a checkpoint, a folder of outputs made elsewhere with the items' names (any audio extension)"
    parser.add_argument("--reconstructions", type=outputs.path, help=made)
    parser.add_argument(
        "--features", default="", type=outputs.path, help="folder or hub name of the SSL model, if it is not found"
    )
    parser.add_argument(
        "--text-features", default="", type=outputs.path, help="the same of a language model's text encoder"
    )
    parser.add_argument(
        "--output",
        type=outputs.path,
        help="folder for the results (a run that was stopped goes on there), or a .csv file",
    )
    outputs.add_overwrite(parser)
    parser.add_argument("--metrics", help="names by commas (default: the row's, or all that compare with a target)")
    parser.add_argument("--report", type=outputs.path, help="folder for a page to listen to")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that compute metrics")
    parser.add_argument("--batch", type=int, default=8, help="files that trained metrics hear at once")
    parser.add_argument(
        "--share",
        default="1/1",
        help="i/n, from 1/n to n/n: this process takes every nth file; all write to one --output",
    )
    for kind in ("recognizer", "speaker", "clap", "fad"):
        about_it = f"weights by name or folder, for metrics that ask {kind}"
        parser.add_argument(f"--{kind}", default="", type=outputs.path, help=about_it)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.evaluate` and `quarkaudio evaluate`."""
    argv = sys.argv if argv is None else argv
    args = _parser(argv[0]).parse_args(argv[1:])
    with report_errors():
        if args.list:
            from quarkaudio_jax.evaluation.benchmarks import listing

            print(listing())
            return
        set_up()
        run(args)


def run(args: argparse.Namespace) -> None:
    """Prints the table and writes the results; files that can't be measured are listed and make the exit status 1."""
    from quarkaudio_jax.evaluation.run import Options, Run

    items, task, usual, about = _what(args)
    names = tuple(n.strip() for n in args.metrics.split(",")) if args.metrics else usual
    weights = {kind: getattr(args, kind) for kind in ("recognizer", "speaker", "clap", "fad") if getattr(args, kind)}
    part = share(args.share)
    if part[1] > 1 and (not args.output or args.output.endswith(".csv")):
        raise UserError("--share needs a folder that all processes see: --output=FOLDER")
    lasting = args.output and not args.output.endswith(".csv")
    _check_outputs(args, lasting, [path for item in items for path in (item.source, *item.targets)])
    options = Options(names, weights, bool(args.metrics), args.workers, part, max(args.batch, 1), bool(args.report))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(args.output if lasting else temporary)
        system = _system(args, task, items)
        measuring = Run(items, system, about, folder, options)
        for line in measuring.left_out:
            print(f"left out: {line}", file=sys.stderr)
        if not measuring.go():
            return
        text = (folder / "results.md").read_text("utf-8")
        print(text, end="")
        if args.output and not lasting:
            atomic.write_text(args.output, (folder / "results.csv").read_text("utf-8"))
        if args.report:
            from quarkaudio_jax.report.page import write_report

            print(f"listen: {write_report(folder, pathlib.Path(args.report))}")
        failed = [row for row in measuring.rows() if "error" in row]
    if failed:
        raise SystemExit("\n".join(["not measured:", *(f"  {row['file']}: {row['error']}" for row in failed)]))


def _check_outputs(args: argparse.Namespace, lasting: bool, read: list[pathlib.Path]) -> None:
    """UserError where something is in the way of what will be written at the end."""
    from quarkaudio_jax.report.page import page_path

    if lasting:
        outputs.require_folder(args.output)
    elif args.output:
        outputs.require_free(args.output, args.overwrite, read=read)
    if args.report:
        page = page_path(pathlib.Path(args.report))
        outputs.require_folder(page.parent, "--report")
        outputs.require_free(page, args.overwrite, "--report", read=read)


def _what(args: argparse.Namespace) -> tuple[list[Any], str, tuple[str, ...], dict[str, Any]]:
    """(items, task, usual metrics, settings that must not change) of the command."""
    from quarkaudio_jax.config import nearest_name
    from quarkaudio_jax.evaluation import datasets
    from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS, RECONSTRUCTION
    from quarkaudio_jax.metrics.registry import METRICS

    if bool(args.benchmark) == bool(args.reference):
        raise UserError("give a folder of audio, or --benchmark=NAME with --data=FOLDER (--list shows the names)")
    about = {"checkpoint": args.checkpoint, "codec": args.codec, "reconstructions": args.reconstructions}
    about |= {"seed": args.seed, "limit": args.limit}
    if args.reference:
        root = pathlib.Path(args.reference)
        if not root.exists():
            raise UserError(f"{root}: no such file or folder")
        items, task, about = datasets.folder(root), RECONSTRUCTION, {"reference": args.reference, **about}
        usual = tuple(m.name for m in METRICS.values() if m.needs == "target" and not m.model)
    else:
        if args.benchmark not in BENCHMARKS:
            raise UserError(
                f"benchmark {args.benchmark!r} does not exist; {nearest_name(args.benchmark, list(BENCHMARKS))}"
            )
        row = BENCHMARKS[args.benchmark]
        if not args.data or not pathlib.Path(args.data).is_dir():
            raise UserError(f"--data={args.data or ''} is not a folder; {row.name} wants {row.fetch}")
        items, task, usual = row.read(pathlib.Path(args.data)), row.task, row.metrics
        about = {"benchmark": row.name, "data": args.data, "published": row.published, **about}
    return items[: args.limit or None], task, usual, about


def _system(args: argparse.Namespace, task: str, items: list[Any]) -> Any:
    from quarkaudio_jax.evaluation import systems
    from quarkaudio_jax.evaluation.benchmarks import RECONSTRUCTION

    if bool(args.checkpoint) == bool(args.reconstructions):
        raise UserError("give a model (--checkpoint) or outputs made elsewhere (--reconstructions)")
    if args.reconstructions:
        several = max(1, *(len(item.targets) for item in items))
        folder = pathlib.Path(args.reconstructions)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        return systems.FileSystem(folder, several, [item.name for item in items])
    if task == RECONSTRUCTION:
        from quarkaudio_jax.inference.codec import load_codec

        return systems.CodecSystem(load_codec(args.checkpoint, args.features))
    from quarkaudio_jax.inference.task_model import load_task_model

    if not args.codec:
        raise UserError(f"{task} is asked of a language model: name its codec with --codec")
    model = load_task_model(args.checkpoint, args.codec, args.features, args.text_features)
    if task == "separation":
        model.check_chain()
    elif task not in model.tasks:
        raise UserError(f"{args.checkpoint} was not trained for {task}; it knows {', '.join(model.tasks)}")
    return systems.TaskSystem(model, task, args.seed)
