"""Measures reconstructions: python -m quarkaudio_jax.evaluate speech/ --checkpoint=runs/first --output=results.csv"""

import argparse
import csv
import io
import math
import os
import pathlib
import sys

import numpy as np

from quarkaudio_jax.cli import UserError, progress, report_errors, set_up


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m quarkaudio_jax.evaluate` and `quarkaudio evaluate`."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=argv[0],
        description="Reconstructs every file of a folder with a codec, or takes reconstructions made elsewhere, "
        "and compares them with the originals (mono, at the codec's or the original's rate).",
    )
    parser.add_argument("reference", help="folder of audio, or one file")
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--checkpoint", help="reconstruct with this codec")
    made.add_argument("--reconstructions", help="folder of files with the same names (any audio extension)")
    parser.add_argument("--features", default="", help="folder or hub name of the SSL model, if it is not found")
    parser.add_argument("--output", help="CSV file with one row a file")
    parser.add_argument("--metrics", help="names by commas (default: all that are installed)")
    args = parser.parse_args(argv[1:])
    set_up()
    with report_errors():
        run(args)


def chosen_metrics(names: str | None) -> list[str]:
    """The metrics to compute; those whose package is missing are left out with a line, or refused if asked for."""
    from quarkaudio_jax.metrics.reconstruction import METRICS, missing_package

    wanted = [n.strip() for n in names.split(",")] if names else list(METRICS)
    for name in wanted:
        if name not in METRICS:
            raise UserError(f"metric {name!r} does not exist; choose from {', '.join(METRICS)}")
    missing = {n: p for n in wanted if (p := missing_package(n))}
    for name, package in missing.items():
        line = f"{name} needs the package {package} (pip install {package})"
        if names:
            raise UserError(line)
        print(f"left out: {line}", file=sys.stderr)
    return [n for n in wanted if n not in missing]


def run(args: argparse.Namespace) -> None:
    """Prints the table and writes the CSV; unreadable files are listed and make the exit status 1."""
    from quarkaudio_jax.data import audio
    from quarkaudio_jax.data.transforms import resample, to_mono
    from quarkaudio_jax.metrics.reconstruction import METRICS

    metrics = chosen_metrics(args.metrics)
    root = pathlib.Path(args.reference)
    files = audio.find(root) if root.is_dir() else [root]
    if not files:
        raise UserError(f"{root} holds no audio files ({', '.join(audio.EXTENSIONS)})")
    others = None
    if args.checkpoint:
        from quarkaudio_jax.api import load_codec

        codec = load_codec(args.checkpoint, args.features)
    else:
        others = _by_stem(pathlib.Path(args.reconstructions), audio.find)

    rows, failed = [], []
    for path in progress(files, len(files)):
        name = str(path.relative_to(root)) if root.is_dir() else path.name
        try:
            samples, rate = audio.read(path)
            reference = to_mono(samples)
            if others is None:
                reference = resample(reference[:, None], rate, codec.sample_rate)[:, 0]
                rate = codec.sample_rate
                estimate = codec.reconstruct(reference)
            else:
                stem = str(pathlib.Path(name).with_suffix(""))
                if stem not in others:
                    raise audio.AudioError(f"{name}: no reconstruction of that name in {args.reconstructions}")
                samples, other_rate = audio.read(others[stem])
                estimate = resample(to_mono(samples)[:, None], other_rate, rate)[:, 0]
                count = min(len(reference), len(estimate))
                reference, estimate = reference[:count], estimate[:count]
        except audio.AudioError as error:
            failed.append(str(error))
            continue
        values = {metric: METRICS[metric](reference, estimate, rate) for metric in metrics}
        rows.append({"file": name, "seconds": len(reference) / rate, **values})
    if args.output:
        _write_csv(pathlib.Path(args.output), rows)
    print(table(rows))
    if failed:
        raise SystemExit("\n".join(["not measured:", *(f"  {line}" for line in failed)]))


def _by_stem(folder: pathlib.Path, find) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return {str(p.relative_to(folder).with_suffix("")): p for p in find(folder)}


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table, the mean of each column (NaN left out) last."""
    if not rows:
        return "nothing was measured"
    columns = list(rows[0])
    means = {"file": f"mean of {len(rows)}"}
    for column in columns[1:]:
        values = [r[column] for r in rows if not math.isnan(r[column])]
        means[column] = float(np.mean(values)) if values else math.nan
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[r["file"], *(f"{r[c]:.3f}" for c in columns[1:])] for r in [*rows, means]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def _write_csv(path: pathlib.Path, rows: list[dict]) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text.getvalue())
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
