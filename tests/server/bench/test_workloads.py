import pytest

from gguf_server.bench.workloads import (
    PLAIN_RULER,
    STANDARD,
    WORKLOADS,
    Message,
    Prompt,
    Ruler,
    Workload,
    prompts,
    text,
)

RULER = PLAIN_RULER
BY_NAME = {workload.name: workload for workload in WORKLOADS}


def num_tokens(prompt: Prompt) -> int:
    """A model with one token a word and the template that RULER describes."""
    words = sum(len(message.content.split()) for message in prompt.messages)
    return words + (31 if len(prompt.messages) == 1 else 14)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_prompts_have_the_promised_number_of_tokens(workload: Workload) -> None:
    sizes = [num_tokens(prompt) for prompt in prompts(workload, RULER)]
    assert sizes == [shape.num_prompt_tokens for shape in workload.shapes]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_prompts_are_the_same_on_every_call_and_differ_among_themselves(workload: Workload) -> None:
    first, second = prompts(workload, RULER), prompts(workload, RULER)
    assert first == second
    assert len(set(first)) == len(workload.shapes)


def test_prompts_part_at_their_second_word() -> None:
    seconds = [each.messages[0].content.split()[1] for each in prompts(BY_NAME["sixteen"], RULER)]
    assert len(set(seconds)) == 32


def test_a_common_system_prompt_has_its_900_tokens_and_is_common() -> None:
    heads = {prompt.messages[0] for prompt in prompts(BY_NAME["shared"], RULER)}
    (head,) = heads
    assert head.role == "system"
    assert len(head.content.split()) == 900


def test_every_fourth_prompt_of_the_mixed_load_is_long() -> None:
    sizes = [shape.num_prompt_tokens for shape in BY_NAME["mixed"].shapes]
    assert sizes == [94, 94, 94, 1200] * 4


def test_the_ruler_finds_overhead_and_words_from_three_sizes() -> None:
    per_word, user, both = 1.5, 31, 14
    counts = (int(20 * per_word + user), int(120 * per_word + user))
    ruler = Ruler.fit((20, 120), counts, with_system=int(40 * per_word + both))
    assert ruler == Ruler(per_word, user, both)
    assert ruler.words(90) == 60


def test_a_text_has_at_least_one_word_whatever_the_template_costs() -> None:
    assert RULER.words(-5) == 1
    assert Message("user", text("seed", 1)).content == "About"


def test_another_seed_asks_what_no_server_has_seen() -> None:
    first, second = (prompts(BY_NAME["shared"], RULER, seed) for seed in ("a", "b"))
    assert {prompt.messages for prompt in first}.isdisjoint(prompt.messages for prompt in second)
    assert first[0].messages[0] != second[0].messages[0]


def test_a_scaled_workload_keeps_its_mixture_and_its_title_says_its_size() -> None:
    scaled = BY_NAME["mixed"].scaled(concurrency=3, num_requests=6)
    assert [shape.num_prompt_tokens for shape in scaled.shapes] == [94, 94, 94, 1200, 94, 94]
    assert scaled.title.startswith("6 requests, 3 at once, ")
    assert BY_NAME["mixed"].scaled() == BY_NAME["mixed"]


def test_no_more_are_open_at_once_than_there_are_requests() -> None:
    assert len(BY_NAME["single"].scaled(concurrency=4).shapes) == 4


def test_a_conversation_goes_on_with_the_answer_and_the_users_next_message() -> None:
    workload = BY_NAME["turns"]
    prompt = prompts(workload, RULER)[3]
    assert workload.num_requests == 24 * 6
    assert len(prompt.next_messages) == 5
    later = prompt.after("so be it")
    assert [each.role for each in later.messages] == ["user", "assistant", "user"]
    assert later.messages[1:] == (Message("assistant", "so be it"), prompt.next_messages[0])
    assert later.next_messages == prompt.next_messages[1:]
    assert len(prompt.next_messages[0].content.split()) == 40


def test_what_is_demanding_is_asked_only_by_name() -> None:
    assert {each.name for each in STANDARD} == {"single", "eight", "sixteen", "shared", "mixed"}
    assert {"turns", "structured", "crowd"} <= BY_NAME.keys()


def test_titles_say_how_many_ask_and_of_how_many_slots() -> None:
    titles = [BY_NAME[name].title for name in ("turns", "crowd")]
    assert titles[0].startswith("24 conversations of 6 turns, 24 at once on 8 slots, ")
    assert titles[1].startswith("200 requests, 200 at once on 8 slots, ")
