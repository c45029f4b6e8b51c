"""Measure a codec or a language model on a folder of audio or a benchmark of the published report.

quarkaudio evaluate speech/ --checkpoint=runs/first --output=results
quarkaudio evaluate --benchmark=librispeech --data=/data --checkpoint=runs/first --output=results

Outputs and targets are mixed to mono and compared at the lower of their sample rates.
"""

import argparse
import pathlib
import sys
import tempfile
from typing import Any

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import report_errors, set_up
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.io import atomic

METRIC_MODELS = ("asr_model", "speaker", "clap", "fad")
"""Values of `Metric.model`; an option of the same name gives its weights."""


def _parser() -> options.Parser:
    parser = options.Parser("quarkaudio evaluate", __doc__)
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "reference",
        metavar="INPUT",
        nargs="?",
        type=options.path,
        help="a folder of audio, or one file, to reconstruct",
    )
    options.add_path(
        group, "output", "folder for the results, where a stopped run is resumed, or a .csv file", default=None
    )
    options.add_path(group, "report", "folder for a page to listen to", default=None)
    options.add_overwrite(group)
    group = parser.add_argument_group("benchmarks")
    group.add_argument("--benchmark", metavar="NAME", help="a row of the published report; see --list")
    options.add_path(group, "data", "the folder that holds its dataset", default=None)
    group.add_argument("--list", action="store_true", help="print the benchmarks, their datasets and where to get them")
    group = parser.add_argument_group("model")
    options.add_path(group, "checkpoint", "a codec or, for tasks, a language model", default=None)
    options.add_path(group, "codec", "the codec that the language model's data was prepared with", default=None)
    options.add_path(
        group,
        "reconstructions",
        "instead of a model, a folder of outputs made elsewhere, named as the items are",
        default=None,
    )
    options.add_features(group)
    options.add_text_features(group)
    options.add_number(group, "seed", "seed of the random numbers", default=0)
    group = parser.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        metavar="NAMES",
        help="comma-separated names (default: the benchmark's, or all that compare with a target)",
    )
    options.add_path(group, "asr-model", "ASR model for wer: hub name or folder of a transformers model")
    options.add_path(group, "speaker", "speaker encoder for speaker: likewise")
    options.add_path(group, "clap", "CLAP model for clap: likewise")
    group.add_argument(
        "--fad",
        default="",
        metavar="MODEL[:PATH]",
        type=options.path,
        help="encoder for fad: hubert, wavlm, wav2vec2, clap or mel",
    )
    group = parser.add_argument_group("work")
    options.add_number(group, "limit", "only the first N files; 0: all", default=0)
    options.add_number(group, "batch", "outputs that a model-based metric takes at once", default=8)
    options.add_number(group, "workers", "processes that compute metrics; 0: this one", default=0)
    group.add_argument(
        "--share",
        default="1/1",
        metavar="I/N",
        help="every Nth file only, from the Ith, for N processes with one --output",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio evaluate`."""
    args = _parser().parse_args(options.arguments(argv))
    with report_errors():
        if args.list:
            from quarkaudio_jax.evaluation.benchmarks import listing

            print(listing())
            return
        set_up()
        run(args)


def run(args: argparse.Namespace) -> None:
    """Prints the table and writes the results; SystemExit lists the files that could not be measured."""
    from quarkaudio_jax.evaluation.run import Options, Run

    items, task, usual, about = _selected(args)
    names = tuple(n.strip() for n in args.metrics.split(",")) if args.metrics else usual
    weights = {kind: getattr(args, kind) for kind in METRIC_MODELS if getattr(args, kind)}
    part = options.parse_share(args.share)
    if part[1] > 1 and (not args.output or args.output.endswith(".csv")):
        raise UsageError("--share needs a folder that all processes see: --output=FOLDER")
    keep = args.output and not args.output.endswith(".csv")
    _check_outputs(args, keep, [path for item in items for path in (item.source, *item.targets)])
    choices = Options(names, weights, bool(args.metrics), args.workers, part, max(args.batch, 1), bool(args.report))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(args.output if keep else temporary)
        system = _system(args, task, items)
        evaluation = Run(items, system, about, folder, choices)
        for line in evaluation.left_out:
            print(f"left out: {line}", file=sys.stderr)
        if not evaluation.run():
            return
        text = (folder / "results.md").read_text("utf-8")
        print(text, end="")
        if args.output and not keep:
            atomic.write_text(args.output, (folder / "results.csv").read_text("utf-8"))
        if args.report:
            from quarkaudio_jax.report.page import write_report

            print(f"listen: {write_report(folder, pathlib.Path(args.report))}")
        failed = [row for row in evaluation.rows() if "error" in row]
    if failed:
        raise SystemExit("\n".join(["not measured:", *(f"  {row['file']}: {row['error']}" for row in failed)]))


def _check_outputs(args: argparse.Namespace, keep: bool, read: list[pathlib.Path]) -> None:
    """UserError if an output exists or can't be written; checked before the work begins."""
    from quarkaudio_jax.report.page import page_path

    if keep:
        outputs.require_folder(args.output)
    elif args.output:
        outputs.require_free(args.output, args.overwrite, read=read)
    if args.report:
        page = page_path(pathlib.Path(args.report))
        outputs.require_folder(page.parent, "--report")
        outputs.require_free(page, args.overwrite, "--report", read=read)


def _selected(args: argparse.Namespace) -> tuple[list[Any], str, tuple[str, ...], dict[str, Any]]:
    """(items, task, default metrics, settings that must not change between runs) of the command line."""
    from quarkaudio_jax.config import nearest_name
    from quarkaudio_jax.evaluation import datasets
    from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS, RECONSTRUCTION
    from quarkaudio_jax.metrics.registry import METRICS

    if bool(args.benchmark) == bool(args.reference):
        raise UsageError("give a folder of audio, or --benchmark=NAME with --data=FOLDER (--list shows the names)")
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
            raise UsageError(
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
        raise UsageError("give a model (--checkpoint) or outputs made elsewhere (--reconstructions)")
    if args.reconstructions:
        outputs_per_item = max(1, *(len(item.targets) for item in items))
        folder = pathlib.Path(args.reconstructions)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        return systems.FileSystem(folder, outputs_per_item, [item.name for item in items])
    if task == RECONSTRUCTION:
        from quarkaudio_jax.inference.codec import load_codec

        return systems.CodecSystem(load_codec(args.checkpoint, args.features))
    from quarkaudio_jax.inference.loading import load_task_model

    model = load_task_model(args.checkpoint, args.codec, args.features, args.text_features)
    if task == "separation":
        model.check_separation()
    elif task not in model.tasks:
        raise UserError(f"{args.checkpoint} was not trained for {task}; it knows {', '.join(model.tasks)}")
    return systems.TaskSystem(model, task, args.seed)
