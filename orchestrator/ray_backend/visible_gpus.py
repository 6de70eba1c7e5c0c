"""Keeps a process of ours off GPUs that Ray has not given it. Runs in workers; loads no torch."""

import os

import ray

# By which NVIDIA's and AMD's libraries are told which GPUs there are; torch for AMD heeds both.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def hide_gpus_of_others() -> None:
    """Hide all GPUs from this process where Ray gave it none.

    Ray itself hides the others from a process that has some, and nothing from one that has none.
    To be called before anything asks how many there are: the answer stays what it was.
    """
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        os.environ.update(dict.fromkeys(VARIABLES, ""))
