"""What runs scored on their tasks, as a table: python -m experiments.scores runs=outputs/emergence"""

from pathlib import Path

from omegaconf import DictConfig

from analysis.report import markdown
from analysis.tables import scores
from experiments import tables
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("scores")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    table = scores.table((run for _, run in records(folder)), tuned=cfg.tuned)
    write_atomically(folder / "scores.csv", table.to_csv(index=False))
    matrix = markdown.table(*scores.matrix(table))
    made = tables.origin("experiments.scores", cfg)
    write_atomically(folder / "scores.md", f"{tables.signed(made)}.\n\n{matrix}\n")
    print(f"{matrix}\nwritten to {folder}: scores.csv, scores.md")


if __name__ == "__main__":
    main()
