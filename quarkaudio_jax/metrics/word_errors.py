"""How far what was understood is from what was said, by jiwer."""

import re
import unicodedata


def normalized(text: str) -> str:
    """Lower case, no punctuation (apostrophes within words stay), single spaces; Unicode in NFKC."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    text = re.sub(r"[^\w\s']|_", " ", text)
    text = re.sub(r"(?<!\w)'|'(?!\w)", " ", text)
    return " ".join(text.split())


def error_rates(said: str, understood: str) -> dict[str, float]:
    """Word and character error rates of one recording, and how many there are, which weight them in a mean.

    Both texts are normalized. Characters are counted without spaces, as is usual for Chinese. NaN if nothing is said.
    """
    import jiwer

    said, understood = normalized(said), normalized(understood)
    words, characters = len(said.split()), len(said.replace(" ", ""))
    if not words:
        return {"wer": float("nan"), "words": 0.0, "cer": float("nan"), "characters": 0.0}
    cer = jiwer.cer(said.replace(" ", ""), understood.replace(" ", ""))
    return {"wer": float(jiwer.wer(said, understood)), "words": words, "cer": float(cer), "characters": characters}
