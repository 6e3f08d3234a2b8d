"""What a client may be told about the end of its request, and what not."""

import json

import pytest

from tests.soak.law import DONE, Ending, StreamLaw, whole


def event(index: int, reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": index, "finish_reason": reason}]})


ERROR = json.dumps({"error": {"code": "engine_died"}})
USAGE = json.dumps({"choices": [], "usage": {}})
MISSING = "the stream ended without a terminal event"


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        ([event(0), event(0, "stop"), DONE], Ending("finished")),
        ([event(0), event(0, "stop"), USAGE, DONE], Ending("finished")),
        ([event(0), ERROR], Ending("failed", "engine_died")),
        ([ERROR], Ending("failed", "engine_died")),
        ([], Ending("broken", MISSING)),
        ([event(0)], Ending("broken", MISSING)),
        ([event(0, "stop")], Ending("broken", MISSING)),
        ([event(0), DONE], Ending("broken", "finish reasons by index: {}")),
        ([ERROR, DONE], Ending("broken", "'[DONE]' came after an error")),
        ([event(0, "stop"), DONE, DONE], Ending("broken", "'[DONE]' came after [DONE]")),
        ([event(0, "stop"), event(0), DONE], Ending("broken", "sequence 0 went on after its end")),
    ],
)
def test_a_stream_has_one_end_and_nothing_after_it(events: list[str], ending: Ending) -> None:
    law = StreamLaw(1)
    for each in events:
        law.push(each)
    found = law.ending()
    assert (found.kind, found.detail.replace("Counter()", "{}")) == (ending.kind, ending.detail)


def test_each_of_several_answers_ends_once() -> None:
    law = StreamLaw(2)
    for each in (event(1, "length"), event(0), event(0, "stop"), DONE):
        law.push(each)
    assert law.ending() == Ending("finished")
    law = StreamLaw(2)
    for each in (event(1, "length"), DONE):
        law.push(each)
    assert law.ending().kind == "broken"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"choices": [{"finish_reason": "stop"}]}, "finished"),
        (200, {"data": []}, "finished"),
        (200, {"choices": [{"finish_reason": None}]}, "broken"),
        (200, {"choices": []}, "broken"),
        (429, {"error": {"code": "queue_full"}}, "refused"),
        (500, {"detail": "oops"}, "broken"),
    ],
)
def test_a_whole_answer_is_an_answer_or_an_error_with_a_code(
    status: int, body: dict[str, object], kind: str
) -> None:
    assert whole(status, json.dumps(body).encode(), 1).kind == kind
    assert whole(status, b"half of", 1).kind == "broken"
