"""Node affinity, as the scheduler reads it."""

from typing import Any

Json = dict[str, Any]
Labels = dict[str, str]


def admits(pod: Json, labels: Labels) -> bool:
    """By what the pod requires."""
    node = pod.get("affinity", {}).get("nodeAffinity", {})
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    selector = pod.get("nodeSelector", {})
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    return required is None or any(_holds(term, labels) for term in required["nodeSelectorTerms"])


def score(pod: Json, labels: Labels) -> int:
    """By what it prefers."""
    node = pod.get("affinity", {}).get("nodeAffinity", {})
    preferred = node.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    return sum(each["weight"] for each in preferred if _holds(each["preference"], labels))


def _holds(term: Json, labels: Labels) -> bool:
    """A term without expressions is nobody's."""
    expressions = term.get("matchExpressions", [])
    return bool(expressions) and all(_matches(each, labels) for each in expressions)


def _matches(expression: Json, labels: Labels) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "DoesNotExist":
            return value is None
        case operator:
            assert operator in ("Gt", "Lt")
            (bound,) = map(int, values)
            if value is None or not value.isdecimal():
                return False
            return int(value) > bound if operator == "Gt" else int(value) < bound
