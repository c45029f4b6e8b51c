"""Examples to listen to: python -m quarkaudio_jax.simulate --config=configs/prepare.py --task=restoration --output=DIR"""

import html
import json
import pathlib
import sys

from quarkaudio_jax.cli.common import report_errors, set_up_logging
from quarkaudio_jax.cli.config_flags import read_config
from quarkaudio_jax.cli.outputs import require_empty
from quarkaudio_jax.config import PrepareConfig
from quarkaudio_jax.report.progress import progress


def _define(values) -> None:
    from absl import flags

    from quarkaudio_jax.tokens.tasks import TASKS

    flags.DEFINE_enum("task", None, sorted(TASKS), "Task.", required=True, flag_values=values)
    flags.DEFINE_string("output", None, "Folder for audio, pictures and a page.", required=True, flag_values=values)
    flags.DEFINE_integer("count", 10, "How many examples.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rate", 16000, "Sample rate in Hz.", lower_bound=4000, flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Write into a folder that is not empty.", flag_values=values)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.simulate` and `quarkaudio simulate`."""
    argv = sys.argv if argv is None else argv
    with report_errors():
        cfg, flags = read_config(argv, PrepareConfig, __doc__, _define)
        set_up_logging()
        run(cfg, flags.task, pathlib.Path(flags.output), flags.count, flags.rate, flags.overwrite)


def run(cfg: PrepareConfig, task: str, folder: pathlib.Path, count: int, rate: int, overwrite: bool = False) -> None:
    """Writes NNN.source.wav, .target.wav, .reference.wav, NNN.png and NNN.json of each example, and index.html."""
    from quarkaudio_jax.data.simulation.example import Inputs
    from quarkaudio_jax.data.simulation.registry import simulate
    from quarkaudio_jax.report.pictures import save_sample

    require_empty(folder, overwrite)
    inputs = Inputs(cfg.sources, cfg.simulation, rate)
    rows = []
    for index in progress(range(count), count):
        example, _ = simulate(task, inputs, cfg.seed, index)
        parts = {"source": example.source_S, "target": example.target_S}
        parts |= {"reference": example.reference_S} if len(example.reference_S) else {}
        parts |= {"other": example.other_S} if len(example.other_S) else {}
        name = f"{index:03d}"
        save_sample(folder, name, parts, rate)
        (folder / f"{name}.json").write_text(json.dumps({"text": example.text, **example.meta}, indent=1) + "\n")
        rows.append((name, example.text, list(parts)))
        seconds = ", ".join(f"{kind} {len(wave) / rate:.2f} s" for kind, wave in parts.items())
        print(f"{folder / name}: {seconds}" + (f'; "{example.text}"' if example.text else ""))
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
        out.append(f"<img src={name}.png alt='spectrograms'><a href={name}.json>draws</a></figure>")
    return "\n".join(out) + "\n"
