"""Data sheets of TPU chips, and topologies without hardware."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from quarkaudio_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Public data sheet of one device.

    flops: peak bfloat16 FLOP/s. bandwidth: of its memory, bytes/s. links: of all its interconnect links together,
    bytes/s. clock: frequency of the compiler's cycle counts, Hz.
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
"""Chips by JAX's `device_kind`. A v5p device is a chip with two cores."""


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """Devices of a number of slices of a TPU topology such as v5e:4x4, as libtpu describes them without hardware.

    UserError if libtpu is missing or does not know the name.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is used, so other processes may compile too
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, "tpu", num_slices=slices).devices)
    except Exception as error:  # JAX raises errors of many kinds here
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"topology {name!r} can't be described ({reason}); it needs the package libtpu (pip install "
            "'quarkaudio_jax[tpu]') and a name such as v5e:4x4, v5p:2x2x2 or v6e:4x4"
        ) from error


def chip_of(devices: Sequence[Any]) -> Chip | None:
    """The data sheet of the devices' chip; None for anything but TPUs."""
    return CHIPS.get(devices[0].device_kind)
