"""Whether pods fit, as far as requests, node selectors and taints say."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from modelrelease.api.spec import parse_spec
from modelrelease.cli.commands.plan import canary_pod_spec, is_canary_pod
from modelrelease.cli.room import asked_by, fitting, quantity
from modelrelease.rollout.labels import RELEASE, release_label
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, deployment, release, service


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2),
        (3, 3),
        ("1Gi", 2**30),
        ("1G", 1e9),
        ("1.5", 1.5),
        ("128Mi", 2**27),
        ("1e3", 1000),
        ("0", 0),
        ("100u", 1e-4),
        ("100n", 1e-7),
    ],
)
def test_quantities_are_read_as_kubernetes_means_them(text: object, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


def node(name: str = "one", *, taints: list[dict[str, str]] | None = None, **allocatable: str) -> Any:
    has = {
        "pods": "10",
        "cpu": "8",
        "memory": "16Gi",
        **{key.replace("_", "."): value for key, value in allocatable.items()},
    }
    return {
        "metadata": {"name": name, "labels": {"zone": name}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": has},
    }


def pod(cpu: str = "2", *, on: str | None = None, phase: str = "Running", **spec: Any) -> Any:
    container = {"name": "server", "resources": {"requests": {"cpu": cpu}}}
    return {"spec": {"containers": [container], "nodeName": on, **spec}, "status": {"phase": phase}}


def test_what_pods_ask_for_is_taken_off_what_nodes_have() -> None:
    wanted = pod()["spec"]
    assert fitting(wanted, [node()], []) == 4
    assert fitting(wanted, [node()], [pod("3", on="one")]) == 2
    assert fitting(wanted, [node()], [pod("3", on="one", phase="Succeeded"), pod("3")]) == 4
    assert fitting(wanted, [node(), node("two", pods="1")], []) == 5
    assert fitting(wanted, [node()], [pod("9", on="one")]) == 0


def test_selectors_and_taints_keep_pods_away() -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    tainted = node(taints=[taint])
    assert fitting(pod()["spec"], [tainted], []) == 0
    for toleration in ({"key": "gpu", "operator": "Exists"}, {"key": "gpu", "value": "yes"}, {"operator": "Exists"}):
        assert fitting(pod(tolerations=[toleration])["spec"], [tainted], []) == 4
    assert fitting(pod(tolerations=[{"key": "gpu", "value": "no"}])["spec"], [tainted], []) == 0
    assert fitting(pod(nodeSelector={"zone": "two"})["spec"], [node(), node("two")], []) == 4
    cordoned = node()
    cordoned["spec"]["unschedulable"] = True
    assert fitting(pod()["spec"], [cordoned], []) == 0


def test_a_gpu_given_as_a_limit_is_asked_for_and_init_containers_count_where_they_are_larger() -> None:
    spec = {
        "containers": [
            {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4", "nvidia.com/gpu": "1"}}},
            {"resources": {"requests": {"cpu": "500m"}}},
        ],
        "initContainers": [{"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}],
    }
    assert {"cpu": 2.0, "nvidia.com/gpu": 1.0, "memory": 2.0**30} == asked_by(spec)
    assert fitting(spec, [node()], []) == 0, "no GPU anywhere"


def asking(cpu: str, **container: Any) -> dict[str, Any]:
    return {"name": "x", "resources": {"requests": {"cpu": cpu}}, **container}


@pytest.mark.parametrize(
    ("init", "more", "cpu"),
    [
        ([asking("1", restartPolicy="Always")], {}, 3),
        ([asking("1", restartPolicy="Always"), asking("4")], {}, 5),
        ([asking("4"), asking("1", restartPolicy="Always")], {}, 4),
        ([], {"overhead": {"cpu": "250m"}}, 2.25),
        ([asking("4")], {"resources": {"requests": {"cpu": "3"}}, "overhead": {"cpu": "250m"}}, 3.25),
    ],
)
def test_sidecars_overhead_and_what_is_set_for_the_whole_pod_count(
    init: list[dict[str, Any]], more: dict[str, Any], cpu: float
) -> None:
    assert {"cpu": cpu} == asked_by({"containers": [asking("2")], "initContainers": init, **more})


def test_room_is_looked_for_by_what_the_canary_will_be() -> None:
    """Not by what stable is: a template of creation mode may ask for more."""
    stable, template = deployment(1), copy.deepcopy(cast(Any, deployment(1))["spec"]["template"])
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "4"}}
    asked = cast(Any, release(NEW_IMAGE))["spec"]
    spec = parse_spec(asked | {"workload": asked["workload"] | {"template": template}})
    assert {"cpu": 4.0} == asked_by(canary_pod_spec(stable, service(), spec))


@pytest.mark.parametrize(
    ("namespace", "name", "expected"), [(NAMESPACE, NAME, True), ("other", NAME, False), (NAMESPACE, "x", False)]
)
def test_room_that_the_release_itself_takes_is_not_wanted_twice(namespace: str, name: str, expected: bool) -> None:
    pod: Any = {"metadata": {"namespace": NAMESPACE, "labels": {RELEASE: release_label(NAME)}}}
    assert expected is is_canary_pod(pod, namespace, name)
