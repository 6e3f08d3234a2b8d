"""The radix tree against the obvious thing: a dict of lists, compared token by token."""

from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.engine.prefix import PrefixTree, common_length

SLOTS = st.integers(0, 5)
# Few letters and short lists, so that paths meet, part and end within each other.
TOKENS = st.lists(st.integers(0, 2), max_size=12)
CLAIM_OR_RELEASE = st.tuples(SLOTS, st.one_of(st.none(), TOKENS))


def shared_length(one: list[int], other: list[int]) -> int:
    equal = (a == b for a, b in zip(one, other, strict=False))
    return sum(takewhile(bool, equal))


def count_nodes(tree: PrefixTree) -> int:
    nodes, count = [tree._root], 0
    while nodes:
        node = nodes.pop()
        nodes += node.children.values()
        count += len(node.children)
    return count


@settings(max_examples=400, deadline=None)
@given(changes=st.lists(CLAIM_OR_RELEASE, max_size=40), questions=st.lists(TOKENS, max_size=5))
def test_holders_are_the_longest_common_prefixes_after_any_claims_and_releases(
    changes: list[tuple[int, list[int] | None]], questions: list[list[int]]
) -> None:
    tree = PrefixTree()
    held: dict[int, list[int]] = {}
    for slot, tokens in changes:
        if tokens is None:
            tree.release(slot)
            held.pop(slot, None)
        else:
            tree.claim(slot, tokens)
            held[slot] = tokens
        for question in [*questions, *held.values()]:
            lengths = {slot: shared_length(question, kept) for slot, kept in held.items()}
            assert tree.holders(question) == {s: n for s, n in lengths.items() if n}
        assert count_nodes(tree) <= 2 * len(held)
    for slot in list(held):
        tree.release(slot)
    assert not tree._root.children
    assert not tree._root.slots
    assert not tree._leaves


def test_prompts_that_part_at_ever_new_places_do_not_leave_their_cuts_in_a_kept_path() -> None:
    tree = PrefixTree()
    kept = list(range(100))
    tree.claim(0, kept)
    for length in range(1, 100):
        tree.claim(1, [*kept[:length], -1])
    tree.release(1)
    assert count_nodes(tree) == 1
    assert tree.holders(kept) == {0: 100}


def test_a_slot_that_is_claimed_again_holds_only_the_new_tokens() -> None:
    tree = PrefixTree()
    tree.claim(3, [1, 2, 3])
    tree.claim(3, [1, 9])
    assert tree.holders([1, 2, 3]) == {3: 1}


def test_a_slot_that_holds_nothing_may_be_released() -> None:
    tree = PrefixTree()
    tree.release(1)
    tree.claim(1, [])
    tree.release(1)
    assert tree.holders([1]) == {}


@given(tokens=TOKENS, edge=TOKENS, start=st.integers(0, 12))
def test_common_length_counts_equal_tokens_from_the_start(
    tokens: list[int], edge: list[int], start: int
) -> None:
    start = min(start, len(tokens))
    assert common_length(tokens, start, edge) == shared_length(tokens[start:], edge)
