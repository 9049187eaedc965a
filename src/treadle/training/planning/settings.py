"""Writes a strategy as the library that carries it out reads it."""

from typing import Any

from treadle.ports.module_meter import Precision

_STAGES = {"ddp": 0, "zero-1": 1, "zero-2": 2, "fsdp": 3, "fsdp-offload": 3}


def settings_of(
    strategy: str, batch: int, devices: int, precision: Precision, checkpointing: bool
) -> dict[str, Any]:
    """Return a strategy's configuration.

    Args:
        strategy: The strategy's name.
        batch: Rows of the batch on each device.
        devices: How many devices there are.
        precision: What is computed in.
        checkpointing: Whether activations are computed again.

    Returns:
        ``torchrun``, the launcher's words; ``deepspeed``, DeepSpeed's JSON, where it has the
        strategy; ``fsdp2``, arguments of ``torch.distributed.fsdp.fully_shard``; ``mesh``, names
        and sizes for ``init_device_mesh``.
    """
    told: dict[str, Any] = {
        "torchrun": ["torchrun", "--standalone", f"--nproc-per-node={devices}"],
        "activation_checkpointing": checkpointing,
    }
    half = {"bf16": "bfloat16", "fp16": "float16", "bf16-pure": "bfloat16"}.get(precision)
    if strategy in _STAGES:
        told["mesh"] = {"dp": devices}
        told["deepspeed"] = _deepspeed(strategy, batch, devices, precision)
    if strategy.startswith("fsdp"):
        told["fsdp2"] = {
            "reshard_after_forward": True,
            "mp_policy": {"param_dtype": half, "reduce_dtype": "float32"} if half else None,
            "offload_policy": "CPUOffloadPolicy" if strategy.endswith("offload") else None,
        }
    if strategy == "tensor":
        told["mesh"] = {"tp": devices}
    if strategy == "pipeline":
        told["mesh"] = {"pp": devices}
        told["pipeline"] = {"schedule": "1F1B", "microbatches": 4 * devices}
    return told


def _deepspeed(strategy: str, batch: int, devices: int, precision: Precision) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": _STAGES[strategy], "overlap_comm": True}
    if strategy.endswith("offload"):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    told: dict[str, Any] = {
        "train_batch_size": batch * devices,
        "train_micro_batch_size_per_gpu": batch,
        "zero_optimization": zero,
    }
    if precision.startswith("bf16"):
        told["bf16"] = {"enabled": True}
    if precision == "fp16":
        told["fp16"] = {"enabled": True}
    return told
