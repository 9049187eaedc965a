"""Accelerators: memory, and speed of arithmetic, memory and links, from their makers' data sheets.

Memory is what a program can have, not the round figure of the name. Speeds are peaks for dense
matrices; a training reaches a share of them.
"""

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.ports.module_meter import Precision

GIB = 2**30


class Device(Entity):
    """An accelerator.

    Attributes:
        name: Its name here.
        memory_bytes: Memory that a program can have.
        half_flops: Operations a second in bfloat16 or float16 with float32 sums, dense.
        single_flops: Operations a second in float32 as PyTorch computes by default.
        memory_rate: Bytes a second between memory and processor.
        link_rate: Bytes a second that a device can send to its neighbours, one way.
        source: Where the figures are from.
    """

    name: str
    memory_bytes: int
    half_flops: float
    single_flops: float
    memory_rate: float
    link_rate: float
    source: str

    def flops(self, precision: Precision) -> float:
        """Operations a second at a precision.

        Args:
            precision: What is computed in.
        """
        return self.single_flops if precision == "fp32" else self.half_flops


def _device(
    name: str, gib: float, half: float, single: float, rate: float, link: float, source: str
) -> Device:
    tera, giga = 1e12, 1e9
    return Device(
        name=name,
        memory_bytes=int(gib * GIB),
        half_flops=half * tera,
        single_flops=single * tera,
        memory_rate=rate * giga,
        link_rate=link * giga,
        source=source,
    )


CATALOGUE = {
    one.name: one
    for one in (
        _device("a100-40", 39.4, 312, 19.5, 1555, 300, "NVIDIA A100 data sheet"),
        _device("a100-80", 79.2, 312, 19.5, 2039, 300, "NVIDIA A100 data sheet"),
        _device("h100", 79.1, 989, 67, 3350, 450, "NVIDIA H100 SXM data sheet"),
        _device("h200", 139.8, 989, 67, 4800, 450, "NVIDIA H200 SXM data sheet"),
        _device("b200", 178.0, 2250, 80, 8000, 900, "NVIDIA B200 data sheet"),
        _device("l4", 22.1, 121, 30.3, 300, 32, "NVIDIA L4 data sheet"),
        _device("l40s", 44.4, 362, 91.6, 864, 32, "NVIDIA L40S data sheet"),
        _device("t4", 14.6, 65, 8.1, 320, 16, "NVIDIA T4 data sheet"),
        _device("v100-32", 31.7, 125, 15.7, 900, 150, "NVIDIA V100 data sheet"),
        _device("rtx4090", 23.5, 165, 82.6, 1008, 32, "NVIDIA Ada architecture paper"),
        _device("mi300x", 191.5, 1307, 163, 5300, 448, "AMD Instinct MI300X data sheet"),
        _device("tpu-v4", 32.0, 275, 69, 1228, 150, "Google Cloud TPU v4 documentation"),
        _device("tpu-v5e", 16.0, 197, 49, 819, 100, "Google Cloud TPU v5e documentation"),
        _device("tpu-v5p", 95.0, 459, 115, 2765, 300, "Google Cloud TPU v5p documentation"),
        _device("tpu-v6e", 32.0, 918, 230, 1640, 224, "Google Cloud TPU v6e documentation"),
    )
}


def device_named(name: str) -> Device:
    """Return a device of the catalogue.

    Args:
        name: Its name.

    Raises:
        Invalid: There is none of that name.
    """
    if name not in CATALOGUE:
        near = did_you_mean(name, CATALOGUE)
        raise Invalid(f"No device is named '{name}'.{near} Known: {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]
