"""Word and character error rates, by jiwer."""

import re
import unicodedata


def normalized(text: str) -> str:
    """Normalize a text: lower case, no punctuation except apostrophes within words, single spaces, Unicode NFKC."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    text = re.sub(r"[^\w\s']|_", " ", text)
    text = re.sub(r"(?<!\w)'|'(?!\w)", " ", text)
    return " ".join(text.split())


def error_rates(reference: str, hypothesis: str) -> dict[str, float]:
    """Word and character error rates of a recording, and its numbers of words and characters, their weights in a mean.

    Both texts are normalized. Characters are counted without spaces, as usual for Chinese. NaN for an empty reference.
    """
    import jiwer

    reference, hypothesis = normalized(reference), normalized(hypothesis)
    words, characters = len(reference.split()), len(reference.replace(" ", ""))
    if not words:
        return {"wer": float("nan"), "words": 0.0, "cer": float("nan"), "characters": 0.0}
    cer = jiwer.cer(reference.replace(" ", ""), hypothesis.replace(" ", ""))
    return {"wer": float(jiwer.wer(reference, hypothesis)), "words": words, "cer": float(cer), "characters": characters}
