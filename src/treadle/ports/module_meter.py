"""The port by which a training step of a module is measured without running it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from treadle.kernel.entity import Entity

Precision = Literal["fp32", "bf16", "fp16", "bf16-pure"]
"""What is computed in: ``bf16`` and ``fp16`` keep parameters in float32 (mixed precision)."""
OptimizerName = Literal["adamw", "adam", "sgd", "sgd-momentum", "none"]
Make = Callable[[int], Any]
"""Makes, for a batch of so many rows, a module and its inputs, and perhaps a loss of its output."""


class StepSetup(NamedTuple):
    """How a step is trained.

    Attributes:
        batch: Rows of the batch.
        precision: What is computed in.
        optimizer: The optimiser.
        checkpointing: Whether the activations of each repeated block are computed again in the
            backward pass.
    """

    batch: int
    precision: Precision = "fp32"
    optimizer: OptimizerName = "adamw"
    checkpointing: bool = False


class StepSize(Entity):
    """What one training step takes on one device; all sizes are bytes.

    Attributes:
        batch: Rows of the batch.
        parameters: How many parameters the module has.
        parameter_bytes: Its parameters.
        gradient_bytes: Their gradients.
        optimizer_bytes: The optimiser's states.
        other_bytes: Buffers and inputs.
        activation_bytes: Activations at the moment when most memory is in use, and what an
            operation needs meanwhile.
        live_gradient_bytes: Gradients that are there at that moment.
        peak_bytes: All of it at that moment.
        forward_flops: Floating-point operations of the forward pass, a product and a sum being two.
        backward_flops: Those of the backward pass.
        blocks: How many repeated blocks the module has, such as a transformer's layers.
        block_parameters: Parameters of the largest block.
        block_output_bytes: The output of one block.
    """

    batch: int
    parameters: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    other_bytes: int
    activation_bytes: int
    live_gradient_bytes: int
    peak_bytes: int
    forward_flops: int
    backward_flops: int
    blocks: int
    block_parameters: int
    block_output_bytes: int


class ModuleMeter(Protocol):
    """Measures modules of one library."""

    def step(self, make: Make, setup: StepSetup) -> StepSize:
        """Walk through a training step with tensors that have a shape and no content.

        Args:
            make: Makes the module and its inputs.
            setup: How it is trained.

        Raises:
            Invalid: The module cannot be made, or cannot take its inputs.
        """
        ...

    def measured(self, make: Make, setup: StepSetup) -> int:
        """Run a training step and return the most bytes of tensors that were in use.

        Args:
            make: Makes the module and its inputs.
            setup: How it is trained.
        """
        ...

    def transformer(self, shape: dict[str, int]) -> Make:
        """Return what makes a decoder-only transformer of a shape.

        Args:
            shape: ``layers``, ``width``, ``heads``, ``vocabulary`` and ``sequence``; optionally
                ``kv_heads``, and ``mlp``, the width of its gated feed-forward part.

        Raises:
            Invalid: A figure is missing, unknown or does not fit the others.
        """
        ...
