"""Ids of the language model: each codebook's codes, followed by the special ids."""

import dataclasses

BOS, EOS, PAD = 0, 1, 2
"""Special ids, counted from the end of a codebook's codes. PAD fills what the delay leaves empty."""
NUM_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """sizes: codes of each codebook, acoustic ones first. Every head has the same number of ids."""

    sizes: tuple[int, ...]

    @property
    def num_codebooks(self) -> int:
        """K, acoustic and semantic together."""
        return len(self.sizes)

    @property
    def num_ids(self) -> int:
        """Ids of each head: the largest codebook and the special ones."""
        return max(self.sizes) + NUM_SPECIAL

    @property
    def bos(self) -> int:
        """The id before the first code."""
        return max(self.sizes) + BOS

    @property
    def eos(self) -> int:
        """The id after the last code."""
        return max(self.sizes) + EOS

    @property
    def pad(self) -> int:
        """The id of a position that a delayed codebook leaves empty."""
        return max(self.sizes) + PAD
