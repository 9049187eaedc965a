"""The types of plans."""

from typing import Any

from treadle.kernel.entity import Entity
from treadle.ports.module_meter import OptimizerName, Precision, StepSize
from treadle.training.planning.hardware import Device


class Option(Entity):
    """A way to train on the devices.

    Attributes:
        strategy: ``single``, ``ddp``, ``zero-1``, ``zero-2``, ``fsdp``, ``fsdp-offload``,
            ``tensor`` or ``pipeline``.
        checkpointing: Whether activations are computed again in the backward pass.
        batch: Rows of the batch on each device.
        parameter_bytes: Parameters on each device, gathered ones included.
        gradient_bytes: Gradients on each device.
        optimizer_bytes: The optimiser's states on each device.
        activation_bytes: Activations and what operations need meanwhile.
        host_bytes: What each device's share takes in the machine's own memory.
        peak_bytes: The most that each device has in use.
        fits: Whether that is within the device's memory, less the share that is kept free.
        step_seconds: The expected time of a step.
        bound_by: What the step waits for most: ``compute``, ``memory`` or ``network``.
        settings: The strategy's configuration, as its library reads it.
    """

    strategy: str
    checkpointing: bool
    batch: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    host_bytes: int
    peak_bytes: int
    fits: bool
    step_seconds: float
    bound_by: str
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """The strategy, and whether activations are computed again."""
        return f"{self.strategy}{', recompute' if self.checkpointing else ''}"


class Plan(Entity):
    """What a training takes, and the ways that there are.

    Attributes:
        size: What a step takes on one device that holds everything, with its share of the batch.
        batch: Rows of the whole batch.
        precision: What is computed in.
        optimizer: The optimiser.
        device: The accelerator.
        devices: How many there are.
        efficiency: The share of the peak speed that is reached; an assumption.
        options: The ways, the fastest that fits first.
        rows: How many rows are trained on; None where it was not told.
        seconds: How long the proposed way takes for them; None where nothing fits.
        cost: What that costs at the price that was told, in its currency.
    """

    size: StepSize
    batch: int
    precision: Precision
    optimizer: OptimizerName
    device: Device
    devices: int
    efficiency: float
    options: list[Option]
    rows: int | None = None
    seconds: float | None = None
    cost: float | None = None

    @property
    def proposed(self) -> Option | None:
        """The fastest way that fits; None where none does."""
        return next((one for one in self.options if one.fits), None)
