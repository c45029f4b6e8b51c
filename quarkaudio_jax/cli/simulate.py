"""Simulate examples of a task and make a page to listen to them.

quarkaudio simulate --config=prepare --task=restoration --output=listen
"""

import html
import json
import pathlib

from quarkaudio_jax.cli import options
from quarkaudio_jax.cli.common import report_errors, set_up_logging
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_empty
from quarkaudio_jax.config import PrepareConfig
from quarkaudio_jax.report.progress import progress, show
from quarkaudio_jax.tokens.tasks import TASKS


def main(argv: list[str] | None = None) -> None:
    """Entry point of `quarkaudio simulate`."""
    parser = options.Parser("quarkaudio simulate", __doc__)
    group = parser.add_argument_group("output")
    options.add_path(group, "output", "folder for audio, pictures and a page", required=True)
    group.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    group = parser.add_argument_group("examples")
    group.add_argument("--task", required=True, choices=sorted(TASKS), metavar="NAME", help=", ".join(sorted(TASKS)))
    options.add_number(group, "count", "number of examples", default=10)
    options.add_number(group, "rate", "sample rate in Hz", default=16000)
    with report_errors():
        cfg, args = read_config(parser, options.arguments(argv), PrepareConfig)
        options.require_at_least(args, 1, "count")
        options.require_at_least(args, 4000, "rate")
        set_up_logging()
        run(cfg, args.task, pathlib.Path(args.output), args.count, args.rate, args.overwrite)


def run(cfg: PrepareConfig, task: str, folder: pathlib.Path, count: int, rate: int, overwrite: bool = False) -> None:
    """Writes NNN.source.wav, .target.wav, .reference.wav, NNN.png and NNN.json of each example, and index.html."""
    from quarkaudio_jax.data.simulation.example import Inputs
    from quarkaudio_jax.data.simulation.registry import simulate
    from quarkaudio_jax.report.pictures import save_sample

    require_empty(folder, overwrite)
    inputs = Inputs(cfg.sources, cfg.simulation, rate)
    rows = []
    for index in progress(range(count), count, "examples"):
        example, _ = simulate(task, inputs, cfg.seed, index)
        parts = {"source": example.source_S, "target": example.target_S}
        parts |= {"reference": example.reference_S} if len(example.reference_S) else {}
        parts |= {"other": example.other_S} if len(example.other_S) else {}
        name = f"{index:03d}"
        save_sample(folder, name, parts, rate)
        (folder / f"{name}.json").write_text(json.dumps({"text": example.text, **example.meta}, indent=1) + "\n")
        rows.append((name, example.text, list(parts)))
        seconds = ", ".join(f"{kind} {len(wave) / rate:.2f} s" for kind, wave in parts.items())
        show(f"{folder / name}: {seconds}" + (f'; "{example.text}"' if example.text else ""))
    (folder / "index.html").write_text(_page(task, rows), encoding="utf-8")
    print(f"open {folder / 'index.html'} to listen and look")


def _page(task: str, rows: list[tuple[str, str, list[str]]]) -> str:
    out = [
        f"<!doctype html><meta charset=utf-8><title>{task}</title>",
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}img{width:100%}figure{margin:2em 0}"
        "label{display:inline-block;margin:0 1em 1em 0}</style>",
        f"<h1>{task}</h1>",
    ]
    for name, text, kinds in rows:
        out.append(f"<figure><h2>{name}</h2><p>{html.escape(text)}</p>")
        for kind in kinds:
            out.append(f"<label>{kind}<br><audio controls preload=none src={name}.{kind}.wav></audio></label>")
        out.append(f"<img src={name}.png alt='spectrograms'><a href={name}.json>random values</a></figure>")
    return "\n".join(out) + "\n"
