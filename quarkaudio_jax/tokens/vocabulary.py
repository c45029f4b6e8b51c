"""Ids of the language model: each codebook's codes, and behind them the ids that mean something else."""

import dataclasses

START, END, NOTHING = 0, 1, 2
"""Counted from the end of a codebook's codes: before the first code, behind the last, and where a delayed codebook has
not begun or has ended."""
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
    def start(self) -> int:
        """The id before the first code."""
        return max(self.sizes) + START

    @property
    def end(self) -> int:
        """The id behind the last code."""
        return max(self.sizes) + END

    @property
    def nothing(self) -> int:
        """The id at a place that a delayed codebook leaves empty."""
        return max(self.sizes) + NOTHING
