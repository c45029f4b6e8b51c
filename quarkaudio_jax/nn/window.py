"""Hann window equal to PyTorch's bit for bit."""

import numpy as np

COSINES = {
    1280: (
        (2, 40, 53, 56, 57, 83, 213, 226, 509, 511, 512, 624, 625, 744, 776, 1033, 1201, 1206, 1214, 1232, 1235, 1278),
        (25, 116, 118, 122, 132, 420, 422, 569, 577, 578, 582, 589, 693, 696, 718, 852, 854, 1137, 1266),
    ),
    1920: (
        (3, 60, 79, 84, 109, 332, 339, 344, 768, 932, 936, 1116, 1164, 1175, 1583, 1589, 1619, 1809, 1821, 1829, 1848)
        + (1859, 1917),
        (23, 140, 169, 174, 177, 183, 198, 203, 215, 218, 229, 250, 257, 630, 633, 635, 662, 676, 867, 873, 1039, 1044)
        + (1077, 1261, 1278, 1281, 1322, 1333, 1390, 1681, 1691, 1703, 1714, 1715, 1718, 1732, 1742, 1765, 1771, 1880)
        + (1899,),
    ),
}
"""Length -> indices at which PyTorch's cosine (MKL's, on x86) is one float32 above, and one below, the nearest."""


def hann_window(length: int) -> np.ndarray:
    """Periodic Hann window of `length` samples, float32, as torch.hann_window computes it.

    Bit-identical for the lengths of the codecs (1280, 1920); others differ in a few entries by the cosine's rounding, 6e-8.
    """
    step, half = np.float32(2 * np.pi / length), np.float32(0.5)
    cosine = np.cos((np.arange(length, dtype=np.float32) * step).astype(np.float64)).astype(np.float32)
    for indices, toward in zip(COSINES.get(length, ((), ())), (2, -2), strict=True):
        index = np.asarray(indices, int)
        cosine[index] = np.nextafter(cosine[index], np.float32(toward))
    return half - half * cosine
