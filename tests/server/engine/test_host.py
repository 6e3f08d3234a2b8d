"""The store of evicted prefixes."""

from hypothesis import given
from hypothesis import strategies as st

from gguf_server.engine.host import HostCache
from gguf_server.engine.memory import Memory
from tests.fakes import FakeState

WHOLE = Memory()
WINDOW = Memory(window_tokens=8)
STATE = Memory(exact=True)


def store(memory: Memory, *prefixes: list[int], limit_bytes: int = 10_000) -> HostCache:
    host = HostCache(memory, limit_bytes)
    for tokens in prefixes:
        state = FakeState(tokens)
        if host.make_room(state.nbytes):
            host.put(tokens, state)
    return host


def found(host: HostCache, tokens: list[int], most: int | None = None) -> int:
    return host.find(tokens, len(tokens) if most is None else most)[1]


LONG = list(range(100, 140))


def test_attention_can_be_cut_anywhere() -> None:
    host = store(WHOLE, LONG)
    assert found(host, [*LONG[:25], 1, 2, 3]) == 25
    assert found(host, LONG, most=39) == 39


def test_a_window_is_saved_for_its_end_and_gives_the_last_token_back_at_most() -> None:
    host = store(WINDOW, LONG)
    assert found(host, [*LONG, 1]) == 40
    assert found(host, LONG, most=39) == 39
    assert found(host, LONG, most=38) == 0
    assert found(store(WINDOW, LONG[:8]), [*LONG[:5], 1]) == 5, "nothing has left the window yet"


def test_a_state_is_had_whole_or_not_at_all() -> None:
    host = store(STATE, LONG)
    assert found(host, [*LONG, 1]) == 40
    assert found(host, LONG, most=39) == 0
    assert host.longest_shared(LONG[:30]) == 30


def test_the_longest_that_can_be_had_is_found() -> None:
    host = store(STATE, LONG[:10], LONG[:20], LONG)
    saved, num_tokens = host.find(LONG[:30], 30)
    assert saved is not None
    assert saved.tokens == LONG[:20]
    assert num_tokens == 20


def test_what_a_longer_prefix_can_stand_in_for_is_dropped_for_attention_only() -> None:
    assert len(store(WHOLE, LONG[:10], LONG)) == 1
    assert len(store(STATE, LONG[:10], LONG)) == 2
    assert len(store(STATE, LONG, LONG)) == 1


def test_the_least_recently_used_makes_way_and_what_never_fits_drops_nothing() -> None:
    first, second, third = ([start] * 10 for start in (1, 2, 3))
    host = store(STATE, first, second, limit_bytes=80)
    saved, _ = host.find(first, 10)
    assert saved is not None
    host.touch(saved)
    assert host.make_room(40)
    host.put(third, FakeState(third))
    assert [found(host, tokens) for tokens in (first, second, third)] == [10, 0, 10]
    assert not host.make_room(81)
    assert len(host) == 2


def test_what_failed_to_come_back_is_counted_and_not_tried_again() -> None:
    host = store(WHOLE, LONG)
    saved, _ = host.find(LONG, 40)
    assert saved is not None
    host.failed(saved)
    assert (host.failed_restores_total, len(host), host.used_bytes) == (1, 0, 0)
    host.failed(saved)
    host.touch(saved)
    assert len(host) == 0


prefixes = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=30)


@given(prefixes, st.sampled_from([WHOLE, WINDOW, STATE]), st.integers(0, 200))
def test_the_bytes_are_those_of_the_entries_and_never_over_the_limit(
    saved: list[list[int]], memory: Memory, limit_bytes: int
) -> None:
    host = HostCache(memory, limit_bytes)
    for tokens in saved:
        if host.make_room(4 * len(tokens)):
            host.put(tokens, FakeState(tokens))
            assert host.covers(tokens)
        assert host.used_bytes <= limit_bytes
        entries = host._saved.values()
        assert host.used_bytes == sum(entry.state.nbytes for entry in entries)
