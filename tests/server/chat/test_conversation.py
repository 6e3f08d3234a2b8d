from gguf_server.chat.conversation import Conversation


def contents(messages: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in messages]


def test_every_request_carries_all_that_was_said() -> None:
    talk = Conversation("be brief")
    talk.ask("one?")
    talk.answered("1")
    wanted = [("system", "be brief"), ("user", "one?"), ("assistant", "1"), ("user", "two?")]
    assert contents(talk.ask("two?")) == wanted


def test_a_question_without_an_answer_is_forgotten_but_may_be_asked_again() -> None:
    talk = Conversation()
    talk.ask("one?")
    talk.answered("")
    assert talk.take_back() == "one?"
    assert contents(talk.ask("two?")) == [("user", "two?")]


def test_an_answer_that_is_taken_back_is_not_sent_again() -> None:
    talk = Conversation()
    talk.ask("one?")
    talk.answered("1")
    assert contents(talk.ask(talk.take_back())) == [("user", "one?")]


def test_a_failed_question_does_not_take_back_the_answer_before_it() -> None:
    talk = Conversation()
    talk.ask("one?")
    talk.answered("1")
    talk.ask("two?")
    assert talk.take_back() == "two?"
    assert len(talk.exchanges) == 1


def test_clear_keeps_the_system_message() -> None:
    talk = Conversation("be brief")
    talk.ask("one?")
    talk.answered("1")
    talk.clear()
    assert (talk.take_back(), talk.exchanges, talk.system) == ("", [], "be brief")


def test_a_conversation_is_saved_in_the_order_it_was_held() -> None:
    talk = Conversation("be brief")
    talk.ask("one?")
    talk.answered("1")
    assert [line for line in talk.markdown().splitlines() if line] == [
        *("## System", "be brief", "## Question", "one?", "## Answer", "1"),
    ]
