"""`check`: is the cluster ready for releases, and does Prometheus know what they are judged by?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

import typer
from pydantic import Field

from modelrelease.adapters.cluster import Call, NotFoundError
from modelrelease.api.model import GROUP, PLURAL, Model
from modelrelease.api.permissions import LEASE_NAME, WORKING, Permission
from modelrelease.api.schema import crd
from modelrelease.api.status import parse_time
from modelrelease.cli.connection import Connection, Target, require_served, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.findings import Finding, good, has_problem, problem, remark, render_findings
from modelrelease.cli.measured import watched_of
from modelrelease.cli.options import command
from modelrelease.cli.printing import Output, emit, lasting
from modelrelease.cli.problems import Problem, sentence_of
from modelrelease.cli.prometheus import SYSTEM, OperatorNamespace, ProviderFile, Url, Wanted, reached
from modelrelease.cli.releases import Listing, Release, list_releases, read_release
from modelrelease.cli.series import CLOCK_SECONDS, prometheus_findings
from modelrelease.cli.survey import findings_of, survey
from modelrelease.errors import Forbidden, ReleaseError
from modelrelease.ports import Kind, Manifest

OPERATOR = "modelrelease-operator"


class CheckView(Model):
    """All that was looked at."""

    findings: list[Finding] = Field(description="In the order in which they were looked at.")


@command
def check(
    target: Target,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A ModelRelease whose metrics to look for. Default: all.")
    ] = None,
    prometheus: Url = None,
    provider: ProviderFile = None,
    operator_namespace: OperatorNamespace = SYSTEM,
    output: Output = Output.TABLE,
) -> ExitCode:
    """Look whether the cluster is ready for releases.

    Resource, permissions, operator, Istio, Prometheus with the series that releases are judged by, clocks.
    """
    wanted = Wanted(prometheus, operator_namespace, provider)

    async def work(connection: Connection) -> CheckView:
        return CheckView(findings=[finding async for finding in findings(connection, name, wanted)])

    view = run_connected(target, work)
    emit(view, output, lambda shown: render_findings(shown.findings))
    return ExitCode.FINDINGS if has_problem(view.findings) else ExitCode.OK


async def findings(connection: Connection, name: str | None, wanted: Wanted) -> AsyncIterator[Finding]:
    """One after the other; what depends on something missing is left out."""
    served = await _resource(connection)
    yield served
    if has_problem([served]):
        return
    yield await _own_permissions(connection)
    yield await _operator_role(connection, wanted.operator_namespace)
    yield await _leader(connection, wanted.operator_namespace)
    yield await _istio(connection)
    if name is not None:
        found = Listing((await read_release(connection.cluster, connection.namespace, name),), ())
    else:
        found = await list_releases(connection.cluster, connection.namespace)
    for unreadable, why in found.unreadable:
        yield problem(unreadable, why)
    if not (found.releases or found.unreadable):
        yield remark(
            "releases", f"Namespace {connection.namespace} has none yet, so that no metrics can be looked for."
        )
    for release in found.releases:
        for finding in await _release(connection, release, wanted):
            yield finding


async def _read(connection: Connection, path: str, doing: str) -> dict[str, Any] | None:
    try:
        return await connection.server.send(Call("GET", path, doing))
    except NotFoundError:
        return None


async def _resource(connection: Connection) -> Finding:
    try:
        await require_served(connection.server)
    except Problem as error:
        return problem("resource", str(error))
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{GROUP}"
    try:
        found = await _read(connection, path, "read the definition of ModelReleases")
    except Forbidden:
        return good("resource", "ModelReleases are served; you may not read their definition, so it was not compared.")
    mine: Any = crd()
    there = _properties(found or {})
    missing = sorted(_properties(mine) - there)
    if missing:
        return problem(
            "resource",
            f"The definition in the cluster is older than this plugin and lacks {', '.join(missing[:3])}; apply crds/ "
            "of this version.",
        )
    newer = sorted(there - _properties(mine))
    if newer:
        return remark(
            "resource", f"The definition is newer than this plugin ({', '.join(newer[:3])}); update the plugin."
        )
    return good("resource", "ModelReleases are served as this plugin knows them.")


def _properties(definition: dict[str, Any]) -> set[str]:
    """Paths of all fields."""
    versions = (definition.get("spec") or {}).get("versions") or [{}]
    found: set[str] = set()

    def walk(node: Any, path: str) -> None:
        for name, field in (node.get("properties") or {}).items():
            found.add(f"{path}{name}")
            walk(field, f"{path}{name}.")
        if isinstance(node.get("items"), dict):
            walk(node["items"], path)

    walk((versions[0].get("schema") or {}).get("openAPIV3Schema") or {}, "")
    return found


async def _may(connection: Connection, verb: str, group: str, resource: str) -> bool:
    attributes = {"namespace": connection.namespace, "verb": verb, "group": group, "resource": resource}
    body: Manifest = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": cast(Manifest, {"resourceAttributes": attributes}),
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer: dict[str, Any] = await connection.server.send(Call("POST", path, "ask what you may do", body=body))
    return bool((answer.get("status") or {}).get("allowed"))


async def _own_permissions(connection: Connection) -> Finding:
    """What the person may do, in the words of the roles that there are."""
    roles = {"view": "get", "release and steer": "update", "promote": "promote"}
    may = {what: await _may(connection, verb, GROUP, PLURAL) for what, verb in roles.items()}
    allowed = [what for what, is_allowed in may.items() if is_allowed]
    denied = [what for what, is_allowed in may.items() if not is_allowed]
    sentence = f"In namespace {connection.namespace} you may {', '.join(allowed) or 'do nothing'}"
    if not denied:
        return good("you", f"{sentence}.")
    return remark(
        "you", f"{sentence}, but not {', '.join(denied)}; ask for modelrelease-edit or -promote where needed."
    )


async def _operator_role(connection: Connection, namespace: str) -> Finding:
    """Whether the operator's account has, by its role, every verb of the table that it works by."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    tried = (
        (f"{rbac}/clusterroles/{OPERATOR}", f"{rbac}/clusterrolebindings/{OPERATOR}"),
        *(
            (f"{rbac}/namespaces/{one}/roles/{OPERATOR}", f"{rbac}/namespaces/{one}/rolebindings/{OPERATOR}")
            for one in dict.fromkeys((namespace, connection.namespace))
        ),
    )
    try:
        for role_path, binding_path in tried:
            role = await _read(connection, role_path, "read the operator's role")
            if role is not None:
                binding = await _read(connection, binding_path, "read who has the operator's role")
                break
        else:
            return problem(
                "role", f"There is no ClusterRole or Role {OPERATOR}; install with kubectl apply -k deploy/base."
            )
    except Forbidden:
        return remark("role", "You may not read the operator's role, so it was not looked at.")
    missing = [f"{verb} {each.resource}" for each in WORKING for verb in each.verbs if not _grants(role, each, verb)]
    if missing:
        return problem(
            "role", f"The operator's role lacks {', '.join(missing[:4])}; apply deploy/base of this version."
        )
    accounts = _accounts(binding)
    if not accounts:
        return problem("role", f"Nobody has the operator's role: there is no binding {OPERATOR} to an account.")
    if not {namespace, connection.namespace} & {where for where, _ in accounts}:
        told = ", ".join(f"{where}/{name}" for where, name in accounts)
        return problem(
            "role",
            f"The operator's role is bound to {told}, but the operator runs in namespace {namespace}: bind it to the "
            "account there, or name the operator's namespace with --operator-namespace.",
        )
    return good("role", "The operator's role has every verb that it needs, and its account has the role.")


def _accounts(binding: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Namespace and name of the accounts that a binding names."""
    subjects = (binding or {}).get("subjects") or []
    return [
        (str(one.get("namespace", "")), str(one.get("name", "")))
        for one in subjects
        if one.get("kind") == "ServiceAccount"
    ]


def _grants(role: dict[str, Any], wanted: Permission, verb: str) -> bool:
    return any(
        {wanted.group, "*"} & set(rule.get("apiGroups") or [])
        and {wanted.resource, "*"} & set(rule.get("resources") or [])
        and {verb, "*"} & set(rule.get("verbs") or [])
        for rule in role.get("rules") or []
    )


async def _leader(connection: Connection, namespace: str) -> Finding:
    """Whether some operator holds the Lease now, which also says whether its clock is this one."""
    lease: Any = None
    try:
        for one in dict.fromkeys((namespace, connection.namespace)):
            lease = lease or await connection.cluster.get(Kind.LEASE, one, LEASE_NAME)
    except Forbidden:
        return remark(
            "operator", f"You may not read Leases in {namespace}, so it is not known whether the operator runs."
        )
    spec = (lease or {}).get("spec") or {}
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return problem(
            "operator",
            f"No operator holds the Lease {namespace}/{LEASE_NAME}; see kubectl get pods -n {namespace}, or name its "
            "namespace with --operator-namespace.",
        )
    age = time.time() - parse_time(spec["renewTime"])
    lasting_seconds = float(spec.get("leaseDurationSeconds") or 15)
    if age > lasting_seconds + CLOCK_SECONDS:
        return problem(
            "operator", f"The Lease was last renewed {lasting(age)} ago, so no operator runs; see its pods' logs."
        )
    if age < -CLOCK_SECONDS:
        return problem("clocks", f"This machine's clock is {-age:.0f} s behind the operator's; synchronise them.")
    return good("operator", f"{spec['holderIdentity']} leads and renewed its Lease {max(0.0, age):.0f} s ago.")


async def _istio(connection: Connection) -> Finding:
    resource = Kind.VIRTUAL_SERVICE.value
    if await _read(connection, f"/apis/{resource.api_version}", "read Istio's kinds") is None:
        return problem("istio", f"The cluster does not serve {resource.api_version}; install Istio 1.22 or newer.")
    return good("istio", f"VirtualServices are served as {resource.api_version}.")


async def _release(connection: Connection, release: Release, wanted: Wanted) -> list[Finding]:
    """Workload, route and metrics of one release."""
    found = await survey(connection.cluster, release.namespace, release.name, release.spec)
    about = [_named(release, finding) for finding in findings_of(found, release.spec)]
    try:
        watched = await watched_of(connection.cluster, release.namespace, release.spec)
        async with reached(connection, release.spec.analysis.provider, wanted) as metrics:
            measured = [
                _named(release, finding) for finding in await prometheus_findings(metrics, watched, time.time())
            ]
    except (Problem, ReleaseError) as error:
        is_own = isinstance(error, Forbidden) or getattr(error, "code", None) is ExitCode.FORBIDDEN
        found_out = remark if is_own else problem  # what a person may not do says nothing of the cluster
        measured = [found_out(f"{release.name} prometheus", sentence_of(error))]
    return [*about, *measured]


def _named(release: Release, finding: Finding) -> Finding:
    return finding.model_copy(update={"about": f"{release.name} {finding.about}"})
