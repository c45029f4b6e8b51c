"""Lists of audio (.scp, .txt, .lst): fields and bytes mutated; read by training data and by `manifest`."""

import functools
import pathlib
import random

from quarkaudio_jax.data import sources
from quarkaudio_jax.errors import QuarkAudioError
from tests.fuzz.manifests import wav
from tests.fuzz.mutations import NUMBERS, TEXTS, damaged

GOOD = (
    "a a.wav\nb a.wav\n# a comment\n\nc gone.wav\n",
    "a speaker a.wav\nb speaker a.wav\n",
    "a 16000 0 2000 a.wav\nb 16000 500 3500 a.wav\n",
    "a.wav\na.wav\n",
)


def make(rng: random.Random) -> dict[str, bytes]:
    """A list beside the audio that it names."""
    text = rng.choice(GOOD)
    if rng.random() < 0.6:
        fields = text.split(" ")
        fields[rng.randrange(len(fields))] = str(
            rng.choice((*NUMBERS, *TEXTS, "a.wav", "../a.wav", "cat a.wav |", "x.ark:7"))
        )
        text = " ".join(fields)
    data = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")), "replace")
    if rng.random() < 0.5:
        data = damaged(rng, data, rng.choice(GOOD).encode())
    return {f"l{rng.choice(('.scp', '.scp', '.txt', '.lst', '.SCP'))}": data, "a.wav": wav()}


def trained_on(path: pathlib.Path) -> None:
    """As training data."""
    source = sources.open_source(str(path))
    for index in range(min(len(source), 8)):
        assert isinstance(source.name(index), str)
        try:
            source.read(index, 0.1, 0.5)
        except QuarkAudioError:
            continue
    sources.split_heldout(source, 0.3)


def listed(domain: str, path: pathlib.Path) -> None:
    """As the manifest of a domain."""
    list(sources.list_utterances(str(path), domain, []))


READERS = (trained_on, *(functools.partial(listed, domain) for domain in ("speech", "noise")))
