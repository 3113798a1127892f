"""What all engines share, with one that loses what it is told to lose."""

from dataclasses import dataclass

from hydra_plugins.scalelaw_engines._engine import Engine
from hydra_plugins.scalelaw_local._pool import Watch


@dataclass
class Fate:
    jobs: list[str]
    looks: int  # that find it waiting, or running; then it is over
    lost: str | None

    def begun(self):
        return self.looks < 2

    def over(self):
        self.looks -= 1
        return self.looks < 0

    def why(self):
        return self.lost


class Losing(Engine):
    every = 0.0

    def __init__(self, *fates: tuple[int, str | None]) -> None:
        self.fates = list(fates)

    def submit(self, bundles):
        return [Fate(bundle, *self.fates.pop(0)) for bundle in bundles]


def test_every_job_starts_once_a_handing_over_and_ends_with_its_reason():
    engine, said = Losing((3, None), (0, "lost"), (1, None)), []

    def ended(jobs, why):
        said.append(("ended", *jobs, why))
        return [[job] for job in jobs] if why else []

    watch = Watch(lambda job: said.append(("started", job)), ended, tick=lambda: None, interval=0.0)
    engine.run([["a", "b"], ["c"]], watch)
    assert engine.fates == []
    assert [line for line in said if "c" in line] == [
        ("started", "c"),
        ("ended", "c", "lost"),
        ("started", "c"),
        ("ended", "c", None),
    ]
    assert [line for line in said if "a" in line or "b" in line] == [
        ("started", "a"),
        ("started", "b"),
        ("ended", "a", "b", None),
    ]
