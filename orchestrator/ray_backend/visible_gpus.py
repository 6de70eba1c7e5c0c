"""Keeps a process of ours off GPUs that Ray has not given it. Runs in workers; loads no torch."""

import os

import ray

# By which NVIDIA's and AMD's libraries are told which GPUs there are; torch for AMD heeds both.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def hidden_gpus() -> dict[str, str]:
    """Return the variables that hide all GPUs, where Ray gave this process none; else nothing.

    Ray itself hides the others from a process that has some, and nothing from one that has none.
    """
    if ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        return {}
    return dict.fromkeys(VARIABLES, "")


def hide_gpus_of_others() -> None:
    """Hide all GPUs from this process, which ends with its stage, where Ray gave it none.

    To be called before anything asks how many there are: the answer stays what it was.
    """
    os.environ.update(hidden_gpus())
