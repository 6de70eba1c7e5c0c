"""How a grid looks in MLflow. Only ``connection``, ``runs`` and ``models`` here import mlflow; the rest is plain data.

MLflow's usage reports are off unless the user turned them on: a job on a closed cluster must not wait for the internet.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
