"""What every task says of itself."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of the language model.

    number: its id, never reused. text: whether a request has one, reference: whether it has
    reference audio. aligned: the target lasts as long as the source, frame by frame.
    """

    name: str
    number: int
    about: str
    text: bool = False
    reference: bool = False
    aligned: bool = True
