"""Which slot holds which beginning: a radix tree over token ids. Pure.

Every slot that has tokens claims one path from the root. Two slots on one node hold the same
tokens up to there, so a new prompt finds all that could lend it a prefix in one walk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Node:
    tokens: Sequence[int]
    parent: "_Node | None"
    slots: set[int] = field(default_factory=set)
    children: dict[int, "_Node"] = field(default_factory=dict)


class PrefixTree:
    """Paths of slots through token space; at most two nodes a slot."""

    def __init__(self) -> None:
        self._root = _Node((), None)
        self._leaves: dict[int, _Node] = {}

    def claim(self, slot: int, tokens: Sequence[int]) -> None:
        """Say that ``slot`` holds, or is about to hold, exactly ``tokens``."""
        self.release(slot)
        node, depth = self._root, 0
        while depth < len(tokens):
            child = node.children.get(tokens[depth])
            if child is None:
                child = _Node(tokens[depth:], node)
                node.children[tokens[depth]] = child
            else:
                length = common_length(tokens, depth, child.tokens)
                if length < len(child.tokens):
                    child = _split(child, length)
            child.slots.add(slot)
            depth += len(child.tokens)
            node = child
        self._leaves[slot] = node

    def release(self, slot: int) -> None:
        """Forget what ``slot`` holds. A slot that holds nothing may be released again."""
        node = self._leaves.pop(slot, None)
        while node is not None and node.parent is not None:
            parent = node.parent
            node.slots.discard(slot)
            if not node.slots:
                del parent.children[node.tokens[0]]
            else:
                _join(node)
            node = parent

    def holders(self, tokens: Sequence[int]) -> dict[int, int]:
        """How many leading ``tokens`` each slot shares, for all slots that share any."""
        shared: dict[int, int] = {}
        node, depth = self._root, 0
        while depth < len(tokens):
            child = node.children.get(tokens[depth])
            if child is None:
                break
            length = common_length(tokens, depth, child.tokens)
            depth += length
            for slot in child.slots:
                shared[slot] = depth
            if length < len(child.tokens):
                break
            node = child
        return shared


def _split(node: _Node, length: int) -> _Node:
    """Cut ``node`` after ``length`` tokens; returns the upper part, which keeps its place."""
    parent = node.parent
    assert parent is not None
    upper = _Node(node.tokens[:length], parent, set(node.slots))
    parent.children[upper.tokens[0]] = upper
    node.tokens, node.parent = node.tokens[length:], upper
    upper.children[node.tokens[0]] = node
    return upper


def _join(node: _Node) -> None:
    """Undo a split that no slot needs any more: all that hold ``node`` hold its only child."""
    if len(node.children) != 1:
        return
    (child,) = node.children.values()
    if node.parent is not None and len(child.slots) == len(node.slots):
        child.tokens, child.parent = [*node.tokens, *child.tokens], node.parent
        node.parent.children[child.tokens[0]] = child


def common_length(tokens: Sequence[int], start: int, edge: Sequence[int]) -> int:
    """How many of ``edge`` equal ``tokens[start:]``, by halving: slices compare in C."""
    low, high = 0, min(len(tokens) - start, len(edge))
    while low < high:
        middle = (low + high + 1) // 2
        if tokens[start + low : start + middle] == edge[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
