"""What is read from the environment beside options."""

from gguf_server.settings.environment import engine_environment


def test_the_engine_sees_our_environment_and_what_it_says_of_spinning_wins() -> None:
    ours = {"PATH": "/bin"}
    assert engine_environment(ours) == {"PATH": "/bin", "GOMP_SPINCOUNT": "10000"}
    said = {"GOMP_SPINCOUNT": "5"}
    assert engine_environment(said) == said


def test_openmp_spins_briefly_unless_somebody_decided_otherwise() -> None:
    assert engine_environment({"PATH": "/bin"}) == {
        "PATH": "/bin",
        "GOMP_SPINCOUNT": "10000",
    }
    for decided in ({"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "passive"}):
        assert engine_environment(decided) == decided
