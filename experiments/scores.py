"""What runs scored on their tasks, as a table: python -m experiments.scores runs=outputs/emergence"""

from pathlib import Path

from omegaconf import DictConfig

from analysis.tables import scores
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("scores")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    table = scores.table((run for _, run in records(folder)), tuned=cfg.tuned)
    write_atomically(folder / "scores.csv", table.to_csv(index=False))
    seen = ", ".join(f"{task} ({len(rows)} rows)" for task, rows in table.groupby("task"))
    print(f"written to {folder / 'scores.csv'}: {seen}")


if __name__ == "__main__":
    main()
