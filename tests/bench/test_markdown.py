from tests.bench.markdown import table


def test_a_table_is_markdown_and_lines_up_as_text() -> None:
    assert table(("server", "tok/s"), [("ours", "12.0"), ("a longer name", "9")]).splitlines() == [
        "| server        | tok/s |",
        "|---------------|------:|",
        "| ours          |  12.0 |",
        "| a longer name |     9 |",
    ]
