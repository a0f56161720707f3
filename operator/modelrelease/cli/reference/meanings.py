"""What each reason means, in a sentence for people; a test fails where one is missing or not used any more."""

from __future__ import annotations

from modelrelease.api.status import ConditionType

CONDITIONS: dict[ConditionType, str] = {
    ConditionType.READY: "True while stable serves what `spec` asks for. False during a release, after one that was "
    "rolled back or failed, and while something keeps the operator from going on.",
    ConditionType.RECONCILING: "True while a release is under way or about to begin. Never together with `Stalled`.",
    ConditionType.STALLED: "True while nothing goes on until a person acts. Each reason has an entry in the "
    "[runbook](../runbook.md).",
    ConditionType.CANARY_AVAILABLE: "True while at least one pod of the canary is available.",
    ConditionType.ANALYSIS_HEALTHY: "True while metrics are read; Unknown while nothing is analysed. False means no "
    "evidence: the release holds.",
    ConditionType.PAUSED: "True while forward moves are stopped. Rollback and abort go on.",
    ConditionType.SUCCEEDED: "True once stable runs what was released; False after a rollback or a failure; Unknown "
    "while it is not known. `kubectl wait --for=condition=Succeeded` waits for this one.",
    ConditionType.ROLLED_BACK: "True after a rollback.",
}

MEANINGS: dict[str, str] = {
    "Aborted": "A person set the annotation `modelrelease.dev/abort`.",
    "Annotation": "Paused by the annotation `modelrelease.dev/pause`.",
    "AnnotationIgnored": "A steering annotation was meant for another generation or revision, or belongs to a GitOps "
    "tool. Nothing was done.",
    "AnnotationUnknown": "The name or the value of an annotation means nothing; the message says what does.",
    "AutoscalerChanged": "Somebody lowered minReplicas of stable's HorizontalPodAutoscaler while it was held. It is "
    "held again, three times in a release.",
    "Available": "At least one canary pod is available.",
    "CanaryBack": "The canary is available again after a loss and gets traffic again.",
    "CanaryChanged": "The canary's Deployment was edited, or its tag now names another image. The release starts over "
    "once; before any traffic, and the second time, it ends as failed.",
    "CanaryCrashed": "The canary's containers crash again and again, or its last pod was lost a second time.",
    "CanaryLost": "The canary has no available pod; its weight went to 0. While stable is being replaced, stable goes "
    "back to its old image.",
    "CanaryScaled": "The canary gets more pods before it gets more traffic.",
    "CanarySuspected": "The samples speak against the canary while its pods cannot be read; its weight is 0 until they "
    "can, and then it is rolled back, or gets its weight back.",
    "CanaryUnavailable": "The canary lost its pods and none came back within `strategy.progressDeadline`.",
    "CapacityLost": "Fewer canary pods are available than the step needs; the weight went down to a step that they "
    "can carry.",
    "Conflict": "An older ModelRelease manages the same Deployment or route.",
    "ContainerMissing": "The pod template has no container of the name in `workload.container`.",
    "Creating": "Creation mode: something that `spec` asks for does not exist and is being created.",
    "Deleted": "The ModelRelease is being deleted; the canary is taken away first.",
    "DeploymentMissing": "Stable's Deployment does not exist.",
    "Error": "A container ended with an exit code other than 0.",
    "ErrorRateAboveCeiling": "The canary's error rate is above `analysis.errorRate.ceiling`.",
    "ErrorRateTooHigh": "The canary has more errors than stable, beyond the tolerance.",
    "Failed": "The release could not be carried out, mostly before the canary got any traffic.",
    "Forbidden": "The API server refused a verb: the operator lacks a permission.",
    "ImageOwnedByGitOps": "A GitOps tool owns the image of stable's Deployment and would take a promotion back.",
    "Invalid": "The API server refused an object as invalid; the message quotes it.",
    "InvalidSpec": "`spec` cannot be read; the message names each wrong field.",
    "LatencyAboveCeiling": "The canary's P99 is above `analysis.latencyP99.ceilingMilliseconds`.",
    "LatencyTooHigh": "The canary has a higher P99 latency than stable, beyond the tolerance.",
    "LatencyUnresolvable": "No bucket bound is near stable's P99, so latency cannot be compared.",
    "MetricsFresh": "Metrics are read, or the first complete window is waited for.",
    "MetricsUnavailable": "Before the first step, metrics could not be read within `strategy.progressDeadline`. The "
    "release goes on when they can.",
    "NameTaken": "An object with the canary's name exists and is not the operator's.",
    "NoCanary": "No release is under way.",
    "NotAnalysing": "No analysis is under way.",
    "NotAvailable": "No canary pod is available yet, or it has been for less than a few seconds.",
    "NotPaused": "Forward moves are allowed.",
    "NotRead": "The canary's Deployment or its pods cannot be read; the message of `Stalled` says why.",
    "NotRolledBack": "This release was not rolled back.",
    "NotServed": "The API server does not serve a kind that the operator must write, such as VirtualService.",
    "NotStalled": "Nothing keeps the operator from going on.",
    "NothingAvailable": "Neither stable nor the canary has an available pod while stable is being replaced.",
    "NothingToDo": "A steering annotation asked for what is not possible in this phase.",
    "NothingToRelease": "Stable runs what `spec` asks for, without a release.",
    "Paused": "Forward moves were paused by annotation.",
    "PolicyUncovered": "A policy selects stable's pods but not the canary's.",
    "ProgressDeadlineExceeded": "The canary's pods were not available within `strategy.progressDeadline`; or, during a "
    "promotion, stable's did not get on for as long.",
    "PromotedByHand": "A person promoted by annotation, to the next step or in full.",
    "Promoting": "The bake is over; stable gets the new image while the canary serves.",
    "Regression": "The judge decided against the canary without naming one metric.",
    "ReleaseInProgress": "A release is under way.",
    "ReleasePending": "`spec` asks for something else than the last release was about; the next one has not begun.",
    "ReleaseStarted": "A release began.",
    "ReplicaFailure": "The canary's pods cannot be created: a quota or an admission rule refuses them.",
    "Resumed": "Forward moves are allowed again.",
    "Retried": "A rolled-back or failed release begins again.",
    "RolledBack": "The release was rolled back; stable has all traffic.",
    "RollingBack": "The release is being rolled back.",
    "RouteAmbiguous": "The VirtualService has several http routes, and it is not said which one to split.",
    "RouteFollowed": "Somebody edited a destination of the route, not its weight: the canary's was made like stable's.",
    "RouteMissing": "The VirtualService has no http route of that name, or none at all.",
    "RouteRestored": "The route still named the canary of a release that was removed by force together with its "
    "ModelRelease; stable has all traffic again.",
    "RouteUnknown": "The route could not be read.",
    "RouteUnsupported": "The route cannot be split: it does not send all its traffic to one destination of stable.",
    "Scaled": "Creation mode: an edit of `workload.replicas` was applied to stable.",
    "SelectorUnsupported": "Stable's Deployment or Service would select the canary's pods as well.",
    "ServiceMissing": "Stable's Service does not exist.",
    "SettingsDeferred": "`strategy` or `analysis` was edited during a release; the edit applies to the next one.",
    "SpecPaused": "`spec.paused` is true.",
    "Stable": "Stable runs what `spec` asks for; nothing to release.",
    "StableDrifted": "Somebody set stable's Deployment to something else than what was released.",
    "StableMissing": "Stable's Deployment or Service vanished while a release was being prepared.",
    "StableUnavailable": "Stable has no available pod: nothing to compare the canary with, or to take its traffic.",
    "Stale": "Prometheus answers, but its newest sample is too old or there is none.",
    "StepDeadlineExceeded": "A step has lasted longer than `strategy.stepDeadline` without enough evidence.",
    "StepStarted": "The canary gets the weight of a step.",
    "Succeeded": "Stable runs what was released and has all traffic.",
    "Superseded": "`image`, `env` or `template` was edited during the release; it gives way to a new one.",
    "TemplateMissing": "The status lost stable's pod template in the middle of a promotion.",
    "TrafficReturned": "Stable runs the new image and takes the traffic back; the canary drains.",
    "Unavailable": "Prometheus cannot be asked, or its answer is not usable.",
    "UnknownProvider": "`analysis.provider` is not in the operator's configuration.",
    "UnknownSource": "`analysis.source` is not in the operator's configuration.",
    "Unschedulable": "No node has room for a canary pod.",
    "VerdictFound": "A verdict stands on the canary's Deployment that the status did not know of.",
    "VirtualServiceMissing": "The VirtualService does not exist.",
    "WeightChanged": "Somebody else changed the weights of the route.",
    "WeightsContested": "Somebody else changed the weights of the route for the third time; the release is paused.",
}
