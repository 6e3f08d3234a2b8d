from gguf_server.bench.workloads import WORKLOADS
from tests.bench.targets import NEVER_BELOW, SPECIAL, targets


def test_every_workload_has_a_target_for_its_throughput() -> None:
    found = targets(["single", "shared"])
    assert [(each.workload, each.measure, each.at_least) for each in found] == [
        ("single", "output_tokens_per_second", NEVER_BELOW),
        ("shared", "output_tokens_per_second", NEVER_BELOW),
        ("shared", "wall_seconds", 3.5),
    ]


def test_what_is_wanted_of_one_workload_names_one_that_there_is() -> None:
    assert {each.workload for each in SPECIAL} <= {each.name for each in WORKLOADS}
