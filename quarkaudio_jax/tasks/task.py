"""What every task says of itself."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of the language model.

    number: its id, never reused. verb: the command that asks for it. text: whether a request has
    one, reference: whether it has reference audio; what they are is said by `asks`. aligned: the
    target lasts as long as the source, frame by frame.
    """

    name: str
    number: int
    about: str
    verb: str
    text: bool = False
    reference: bool = False
    aligned: bool = True
    asks: str = ""
