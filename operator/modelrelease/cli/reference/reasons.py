"""Every reason that the operator can give, read from its source.

A reason is a CamelCase word where a `reason` is asked for: in `Stall(…)`, `Terminal(…)`, `Announcement(…)` and the
like, in a call of a function with a parameter of that name, in a fact about a condition, or before the sentence that
goes with it. Where it is a variable, the words in what is assigned to that variable in the same function are taken. A
call whose reason has no word at all comes out of `unresolved`, so that a new kind of indirection is noticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import modelrelease
from modelrelease.api.status import Outcome

PACKAGE = Path(modelrelease.__file__).parent
_WORD = re.compile(r"[A-Z][a-z]+[A-Za-z0-9]*")
_SILENT = ("cli/", "judge/", "api/", "adapters/cluster/server.py", "adapters/cluster/contexts.py")
"""Parts that give no reasons of releases; what the last two raise is about reaching the API server at all."""


class Use(StrEnum):
    """Where a person meets a reason."""

    STALLED = "Stalled"
    ENDED = "outcome"
    NORMAL = "Normal Event"
    WARNING = "Warning Event"
    CONDITION = "condition"
    POD = "pod"


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """A word that the operator can say, and how; `module` and `function` are where it does."""

    word: str
    use: Use
    module: str
    function: str


@dataclass(frozen=True, slots=True)
class _Scope:
    """A function, or a statement outside of any."""

    module: str
    function: str
    node: ast.AST
    assigned: Mapping[str, frozenset[str]]
    """The words in what it assigns, by variable."""
    positions: Mapping[str, int]
    """By the name of what can be called: which argument is the reason."""

    @property
    def hands_on(self) -> bool:
        """Whether it gets its reason from its callers, where the word is found."""
        return self.function in self.positions


_POSITIONS = {"Stall": 0, "Terminal": 0, "Announcement": 0, "PodTrouble": 0}
_ENDING = "rollout/canary.py"
"""What a canary cannot be made from ends the release, with the reason of the Terminal."""


@cache
def collect(package: Path = PACKAGE) -> frozenset[Reason]:
    """All reasons in a package's source, and the outcomes, which are announced by their own names."""
    outcomes = {Reason(one, Use.WARNING, "rollout/retreat.py", "_finish") for one in ("RolledBack", "Failed")}
    found = {reason for scope in _scopes(package) for reason in _in_scope(scope)}
    return frozenset(found | outcomes | {Reason(Outcome.SUPERSEDED, Use.NORMAL, "rollout/retreat.py", "_finish")})


def unresolved(package: Path = PACKAGE) -> frozenset[tuple[str, str, str]]:
    """(module, function, expression) of each reason that is a word neither there nor where it surely comes from: the
    reason of a Terminal or Stall that is handed on, a problem that was seen, or the caller's."""
    return frozenset(
        (scope.module, scope.function, ast.unparse(argument))
        for scope in _scopes(package)
        for _, argument in _calls(scope)
        if not _words_in(argument, scope)
        and not re.fullmatch(r"(problem|stall)\.reason|\*seen\.\w+_problem", ast.unparse(argument))
        and not (scope.hands_on and ast.unparse(argument) == "reason")
    )


def words(found: frozenset[Reason], *uses: Use) -> frozenset[str]:
    """The words that are used in one of these ways."""
    return frozenset(reason.word for reason in found if reason.use in uses)


@cache
def _scopes(package: Path) -> tuple[_Scope, ...]:
    trees = {
        path.relative_to(package).as_posix(): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(package.rglob("*.py"))
        if not path.relative_to(package).as_posix().startswith(_SILENT)
    }
    constants: dict[str, frozenset[str]] = {}
    positions = dict(_POSITIONS)
    for tree in trees.values():
        constants |= {name: found for name, found in _assigned(tree.body).items() if name.isupper()}
        positions |= dict(_askers(tree))
    return tuple(
        _Scope(module, getattr(each, "name", ""), each, constants | _assigned([each]), positions)
        for module, tree in trees.items()
        for node in tree.body
        for each in (node.body if isinstance(node, ast.ClassDef) else [node])
    )


def _askers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions with a parameter `reason`, and its position."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in node.args.args]
            if "reason" in names:
                yield node.name, names.index("reason")


def _assigned(nodes: list[ast.stmt]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for outer in nodes:
        for node in ast.walk(outer):
            if isinstance(node, ast.Assign):
                for name in (each for target in node.targets for each in ast.walk(target)):
                    if isinstance(name, ast.Name):
                        found[name.id] = found.get(name.id, frozenset()) | _plain_words(node.value)
    return found


def _plain_words(node: ast.AST) -> frozenset[str]:
    return frozenset(
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and _WORD.fullmatch(each.value)
    )


def _words_in(node: ast.AST, scope: _Scope) -> frozenset[str]:
    names = (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
    return _plain_words(node).union(*(scope.assigned.get(name, frozenset()) for name in names))


def _calls(scope: _Scope) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls that take a reason, with the reason."""
    for call in ast.walk(scope.node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            position = scope.positions.get(call.func.id)
            if position is not None and len(call.args) > position:
                yield call, call.args[position]


def _in_scope(scope: _Scope) -> Iterator[Reason]:
    for call, argument in _calls(scope):
        for word in _words_in(argument, scope):
            yield from (Reason(word, use, scope.module, scope.function) for use in _uses(call, scope))
    for word, use in _elsewhere(scope):
        yield Reason(word, use, scope.module, scope.function)


def _uses(call: ast.Call, scope: _Scope) -> tuple[Use, ...]:
    match ast.unparse(call.func):
        case "Stall":
            return (Use.STALLED,)
        case "Terminal" if scope.module == _ENDING:
            return (Use.STALLED, Use.ENDED, Use.WARNING)
        case "PodTrouble":
            return (Use.POD,)
        case "retreat":
            gentle = ast.unparse(call.args[-1]) == "Outcome.SUPERSEDED"
            return (Use.ENDED, Use.NORMAL if gentle else Use.WARNING)
        case "Announcement":
            return (Use.WARNING if any(keyword.arg == "warning" for keyword in call.keywords) else Use.NORMAL,)
        case _:
            return (Use.STALLED, Use.WARNING)


def _elsewhere(scope: _Scope) -> Iterator[tuple[str, Use]]:
    """Reasons outside of such calls: facts about conditions, words before their sentence, and errors' own."""
    for node in ast.walk(scope.node):
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
            yield from _in_tuple(node, scope)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Condition":
            given = (keyword.value for keyword in node.keywords if keyword.arg == "reason")
            yield from ((word, Use.STALLED) for reason in given for word in _words_in(reason, scope))
        elif isinstance(node, ast.Call) and scope.module == "errors.py" and ast.unparse(node.func).endswith("__init__"):
            for word in _plain_words(ast.Tuple(node.args[:1])):
                yield from ((word, use) for use in (Use.STALLED, Use.WARNING))


def _in_tuple(node: ast.Tuple, scope: _Scope) -> Iterator[tuple[str, Use]]:
    if len(node.elts) == 3 and ast.unparse(node.elts[0]).startswith(("ConditionStatus.", "_truth(", "state")):
        yield from ((word, Use.CONDITION) for word in _words_in(node.elts[1], scope))
    if len(node.elts) == 2 and _is_sentence(node.elts[1]):
        blames = scope.function in ("blame", "") and scope.module == "rollout/guard.py"
        uses = (Use.ENDED, Use.WARNING) if blames else (Use.STALLED, Use.WARNING)
        yield from ((word, use) for word in _plain_words(node.elts[0]) for use in uses)


def _is_sentence(node: ast.expr) -> bool:
    text = node.value if isinstance(node, ast.Constant) else "" if isinstance(node, ast.JoinedStr) else None
    return isinstance(node, ast.JoinedStr) or (isinstance(text, str) and " " in text)
