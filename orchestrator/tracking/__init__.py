"""How a grid looks in MLflow. The modules of this folder talk to MLflow; ``content`` is plain data.

No module of ``content`` loads mlflow, which tests/test_imports.py checks; elsewhere nobody does.
MLflow's usage reports are off unless the user turned them on: a job on a closed cluster must not
wait for the internet. Neither is it to wait for a server longer than said here, unless the user set
that: MLflow's client reads both from the environment at every request, whichever thread makes it,
so they are set once and stay.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
