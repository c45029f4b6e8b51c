"""Opens audio sources by their specification; the same one for codec training, simulation and manifests."""

import dataclasses
import glob
import logging
import os
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np

from quarkaudio_jax.data import manifest
from quarkaudio_jax.data.crops import SourceError
from quarkaudio_jax.data.files import FileSource, named_files, open_folder, open_list, open_scp
from quarkaudio_jax.data.lists import split_specs
from quarkaudio_jax.data.manifest_source import ManifestSource
from quarkaudio_jax.data.prepared_source import PreparedSource
from quarkaudio_jax.data.source import Joined, Source, Subset
from quarkaudio_jax.data.synthetic.generated import generated_prefix, open_generated
from quarkaudio_jax.data.tfds_source import TfdsSource
from quarkaudio_jax.data.utterance import DOMAINS, Utterance
from quarkaudio_jax.io import audio

log = logging.getLogger(__name__)

LISTS = {".scp": open_scp, ".txt": open_list, ".lst": open_list}
"""Extension of a list -> function that opens it."""


def _open_one(spec: str, tfds_dir: str, domain: str) -> Source:
    if generated_prefix(spec):
        return open_generated(spec)
    if spec.startswith("tfds:"):
        return TfdsSource(spec.removeprefix("tfds:"), tfds_dir, domain)
    if spec.startswith("prepared:"):
        return PreparedSource(spec.removeprefix("prepared:"))
    path = pathlib.Path(spec).expanduser()
    if path.is_dir():
        return open_folder(path, domain)
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == manifest.SUFFIX:
            return ManifestSource(path, tfds_dir)
        return LISTS[suffix](path, domain) if suffix in LISTS else named_files([path], path.parent, domain)
    found = sorted(f for f in glob.glob(str(path), recursive=True) if os.path.isfile(f))
    if not found:
        raise SourceError(f"{spec}: no such file or folder, and no file matches it as a pattern")
    root = os.path.commonpath([os.path.dirname(f) for f in found])
    return named_files([pathlib.Path(f) for f in found], pathlib.Path(root), domain)


def open_source(specs: str, tfds_dir: str = "", domain: str = "speech", check: bool = False) -> Source:
    """Opens a comma-separated list of sources as one.

    Each is a folder, a glob, an audio file, a list (.scp, .txt, .lst), a manifest (.jsonl), tfds:NAME[/CONFIG][:SPLIT],
    prepared:FOLDER, embedded:KIND[/train|/test] or voices:KIND[/train|/test]. tfds_dir: folder of TFDS sets. domain: one
    of `utterance.DOMAINS`. check: decode files and TFDS records now, and leave out those that can't be read.

    SourceError: says which source is wrong.
    """
    sources = []
    for spec in split_specs(specs):
        source = _open_one(spec, tfds_dir, domain)
        sources.append(_readable(source, spec) if check else source)
    if not sources or not sum(len(s) for s in sources):
        raise SourceError(f"no audio in {specs!r}")
    return sources[0] if len(sources) == 1 else Joined(sources)


def _readable(source: Source, spec: str) -> Source:
    """The clips that can be read. Manifests and prepared data were checked when they were made."""
    if not isinstance(source, FileSource | TfdsSource):
        return source
    found: dict[int, Utterance] = {}
    problems = []
    for index in range(len(source)):
        try:
            found[index] = source.utterance(index)
        except audio.AudioError as error:
            problems.append(str(error))
    if not found:
        raise SourceError(f"{spec}: no audio that can be read" + (f" ({problems[0]})" if problems else ""))
    if problems:
        log.warning("%s: left out %d of %d clips, the first: %s", spec, len(problems), len(source), problems[0])
    if isinstance(source, FileSource):
        source.utterances = found
    return Subset(source, list(found), [utterance.speaker for utterance in found.values()])


def list_utterances(
    spec: str,
    domain: str,
    skipped: list[str],
    tfds_dir: str = "",
    relative_to: str | os.PathLike | None = None,
) -> Iterator[Utterance]:
    """Lists the utterances of a source, for a manifest in the folder `relative_to`.

    Reasons why clips can't be read are appended to `skipped`.
    """
    if domain not in DOMAINS:
        raise SourceError(f"domain {domain!r} does not exist; choose one of {', '.join(DOMAINS)}")
    source = _open_one(spec, tfds_dir, domain)
    if isinstance(source, PreparedSource):
        raise SourceError(f"{spec}: manifests can't refer to prepared records")
    for index in range(len(source)):
        try:
            utterance = source.utterance(index)
        except audio.AudioError as error:
            skipped.append(str(error))
            continue
        yield dataclasses.replace(utterance, audio=_relative(utterance.audio, relative_to))


def _relative(path: str, folder: str | os.PathLike | None) -> str:
    """An absolute path, relative to `folder` if it is below it."""
    if folder is None or not pathlib.Path(path).is_relative_to(os.path.abspath(folder)):
        return path
    return pathlib.Path(path).relative_to(os.path.abspath(folder)).as_posix()


def split_heldout(source: Source, share: float) -> tuple[Source, Source]:
    """Splits a source into (training, held-out) by a hash of the clips' names; neither is empty.

    A single clip is in both.
    """
    if len(source) == 1:
        return source, source
    hashes = [zlib.crc32(os.fsencode(source.name(i))) / 2**32 for i in range(len(source))]
    heldout = [i for i, h in enumerate(hashes) if h < share] or [int(np.argmin(hashes))]
    if len(heldout) == len(source):
        heldout.remove(int(np.argmax(hashes)))
    kept = sorted(set(range(len(source))) - set(heldout))
    return Subset(source, kept), Subset(source, heldout)
