"""Figures of a study, one file a figure. `plates` draws those the study has the fits for."""

from analysis.plots import compute, curves, held_out, isoflop, kaplan, side_by_side, surface
from analysis.plots.style import Plate, look, svg
from analysis.report.study import Study

FIGURES = (curves, compute, isoflop, surface, held_out, side_by_side, kaplan)


def plates(study: Study) -> list[Plate]:
    """Every figure of the page in its order, drawn. A figure whose fits are missing is left out."""
    drawn = []
    for module in FIGURES:
        with look():
            made = module.draw(study)
            if made is not None:
                figure, caption = made
                name = module.__name__.rsplit(".", 1)[-1].replace("_", "-")
                drawn.append(Plate(name, module.TITLE, svg(figure, name), caption))
    return drawn
