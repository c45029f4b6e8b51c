"""What is known of TPU chips, and topologies without hardware."""

import dataclasses
import os
from typing import Any

import jax

from quarkaudio_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device of a topology, by its public data sheet.

    flops: bfloat16 a second. bandwidth, links: bytes a second of its memory, and of all its links to
    other chips together. clock: Hz, of the compiler's cycle counts.
    """

    name: str
    flops: float
    bandwidth: float
    links: float
    clock: float


CHIPS = {
    "TPU v5 lite": Chip("v5e", 197e12, 819e9, 200e9, 1.5e9),
    "TPU v5": Chip("v5p", 459e12, 2765e9, 600e9, 1.75e9),
    "TPU v6 lite": Chip("v6e", 918e12, 1640e9, 448e9, 1.75e9),
}
"""By JAX's `device_kind`. A v5p device is a chip of two cores."""


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """The devices of a TPU topology such as v5e:4x4, of so many `slices`, as the TPU compiler (libtpu) describes them.

    None need be at hand.

    ValueError if libtpu is missing or does not know the name.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is taken, so others may compile beside
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, "tpu", num_slices=slices).devices)
    except Exception as error:  # JAX raises errors of many kinds here
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"topology {name!r} can't be described ({reason}); it needs the package libtpu (pip install "
            "'quarkaudio_jax[tpu]') and a name such as v5e:4x4, v5p:2x2x2 or v6e:4x4"
        ) from error


def chip_of(devices: list[jax.Device]) -> Chip | None:
    """What is known of the devices; None for others than TPUs."""
    return CHIPS.get(devices[0].device_kind)
