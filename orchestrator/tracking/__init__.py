"""How a grid looks in MLflow. The modules of this folder talk to MLflow; ``content`` is plain data.

No module of ``content`` loads mlflow, which tests/test_imports.py checks; elsewhere nobody does.
MLflow's usage reports are off unless the user turned them on: a job on a closed cluster must not
wait for the internet.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
