"""One process per cluster that asks for nodes in the name of all drivers, and lets go for them.

It outlives them: what a driver asked for that was killed would keep its nodes for ever. It ends as
soon as no driver wants anything.
"""

import json
import threading
from contextlib import suppress
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.state import jobs
from ray.autoscaler import sdk
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.exceptions import RayError
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.ray_backend.growth.limits import head_node_id
from orchestrator.ray_backend.growth.requests import Want, Wants

CHECK_S = 5.0  # so long after a driver's end its wants are forgotten
ANSWER_S = 10.0
NAME = "trsp-requests"
_ASKED = b"trsp:requested"  # where Ray keeps for us what was last asked for


class _Keeper:
    """The process's side: holds the wants, and looks whether the drivers live."""

    def __init__(self) -> None:
        stored = internal_kv._internal_kv_get(_ASKED)
        self._wants = Wants(json.loads(stored) if stored else ())
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def want(self, job: str, want: Want) -> None:
        """Ask for what this job wants from now on, beside what the others want."""
        with self._lock:
            self._wants.set(job, want)
            self._ask()

    def leave(self) -> None:
        """End this process, unless somebody wants something by now.

        Whoever comes behind this call gets no answer, and starts another keeper.
        """
        with self._lock:
            if self._wants.nothing:
                ray.actor.exit_actor()

    def _watch(self) -> None:
        """Forget drivers that are gone; end this process when nothing is wanted."""
        pause = threading.Event()
        while not pause.wait(CHECK_S):
            with self._lock, suppress(RayError, OSError, ValueError):
                self._wants.keep(job["JobID"] for job in jobs() if not job["IsDead"])
                self._ask()
                if self._wants.nothing:
                    ray.get_actor(NAME, NAME).leave.remote()

    def _ask(self) -> None:
        """Ask the autoscaler, where that changes anything."""
        request = self._wants.request(standing_request())
        if request is not None:
            sdk.request_resources(bundles=request)
        internal_kv._internal_kv_put(_ASKED, json.dumps(self._wants.asked), overwrite=True)


def standing_request() -> list[dict[str, float]]:
    """Return the bundles that the cluster's autoscaler is asked for now, by whomever.

    What a stranger's bundle asks of a node's labels is not kept.
    """
    if not is_autoscaler_v2():
        stored = internal_kv._internal_kv_get(ray_constants.AUTOSCALER_RESOURCE_REQUEST_CHANNEL)
        return list(json.loads(stored)) if stored else []
    state = get_cluster_resource_state(internal_kv.internal_kv_get_gcs_client())
    return [
        dict(each.request.resources_bundle)
        for constraint in state.cluster_resource_constraints
        for each in constraint.resource_requests
        for _ in range(each.count)
    ]


class NodeRequests:
    """The driver's side: what this job wants of the autoscaler."""

    def __init__(self) -> None:
        self._keeper: Any = None
        self._job = ray.get_runtime_context().get_job_id()
        self._stands = False  # whether something may be asked for in this job's name

    def want(self, want: Want) -> None:
        """Ask for what this job wants from now on; nothing: let go.

        Nothing is raised where Ray gives no answer: callers ask again.
        """
        if not want.groups and not self._stands:
            return
        self._stands = True  # also where no answer comes
        for _ in range(2):  # the keeper may have ended just now, as nobody wanted anything
            with suppress(RayError):
                self._keeper = self._keeper or _find_keeper()
                ray.get(self._keeper.want.remote(self._job, want), timeout=ANSWER_S)
                self._stands = bool(want.groups)
                break
            self._keeper = None

    def let_go(self) -> None:
        """Want nothing from now on, without waiting for an answer.

        Who goes has no time to, and the keeper soon forgets a job that is gone.
        """
        if self._stands and self._keeper is not None:
            with suppress(RayError):
                self._keeper.want.remote(self._job, Want())
        self._keeper, self._stands = None, False


def _find_keeper() -> Any:
    """Return the cluster's keeper, started on the head where there is none."""
    head = head_node_id()
    return (
        ray.remote(_Keeper)
        .options(
            name=NAME,
            namespace=NAME,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(head, soft=True),
        )
        .remote()
    )
