"""The page's style, its one script and its glossary, inline so that the report is a single file."""

from collections.abc import Collection

from analysis.report.html import Raw, join, tag
from analysis.solver.resample import PAIRS_FROM

CSS = """
:root { --ink: #1d1d1f; --soft: #5f6368; --line: #e2e4e8; --tint: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 18px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 20px 0 6px; }
h3 small { font-weight: normal; color: var(--soft); font-size: 13.5px; margin-left: 6px; }
p { margin: 0 0 10px; max-width: 90ch; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; }
.tile { flex: 1 1 auto; background: var(--tint); border-radius: 6px; padding: 10px 14px;
  display: flex; flex-direction: column; }
.tile b { font-size: 18px; font-weight: 600; order: 1; white-space: nowrap; }
.tile span { font-size: 12.5px; color: var(--soft); order: 0; }
.tile small { font-size: 12.5px; color: var(--soft); order: 2; }
.intro { margin: 14px 0 0; }
dl { margin: 18px 0 0; font-size: 13.5px; }
dl div { display: grid; grid-template-columns: 110px 1fr; padding: 2px 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
dl.words div { padding: 5px 0; }
dl.words dd { max-width: 95ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; min-width: 60%; }
th { text-align: left; font-weight: 600; color: var(--soft); padding: 5px 12px 5px 0; vertical-align: bottom;
  border-bottom: 1.5px solid #9aa0a6; white-space: nowrap; }
td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
td:last-child { white-space: normal; }
td.num, th.num { text-align: right; }
td small { color: var(--soft); }
code { font-size: 12px; }
.good { color: #0b6b3a; } .warn { color: #8a5a00; } .bad { color: #b3261e; }
figure { margin: 8px 0 14px; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { font-size: 14px; color: #3c4043; max-width: 110ch; margin-top: 6px; }
sub, sup { line-height: 0; font-size: 0.75em; }
table.sortable th { cursor: pointer; }
table.sortable th[aria-sort]::after { content: " \\2191"; }
table.sortable th[aria-sort=descending]::after { content: " \\2193"; }
@media print {
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  figure, .tile, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  table { font-size: 7.5pt; } th, td { padding-right: 6px; } .scroll { overflow: visible; }
}
"""

SORT = Raw(
    """<script>
for (const table of document.querySelectorAll("table")) {
  const first = table.tBodies[0].rows[0];
  const heads = table.tHead.rows[0].cells;
  if (first) [...first.cells].forEach((c, i) => c.className === "num" && heads[i].classList.add("num"));
}
for (const head of document.querySelectorAll("table.sortable th")) head.onclick = () => {
  const table = head.closest("table"), column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th").forEach(h => h.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const order = (a, b) => (isNaN(key(a)) || isNaN(key(b))) ? key(a).localeCompare(key(b)) : key(a) - key(b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => down ? order(b, a) : order(a, b));
  table.tBodies[0].append(...rows);
};
</script>"""
)


def frame(title: str, body: str, *more: Raw) -> str:
    """A whole page around its body: one file, with its style and its script in it. more: for the head."""
    head = join(
        [
            Raw('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            tag("title", title),
            tag("style", Raw(CSS)),
            *more,
        ]
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n'
        f"<body><main>{body}</main>{SORT}</body></html>\n"
    )


# By `Fit.resampling["method"]`: how the intervals of a fit were drawn.
INTERVALS = {
    "bayesian": f"Intervals of laws fitted to fewer than {PAIRS_FROM} runs are quantiles over refits in "
    "which every run has a weight drawn at random (Rubin 1981).",
    "residual": f"Intervals of laws fitted to fewer than {PAIRS_FROM} runs of several rows are quantiles "
    "over refits to losses drawn around the law, one part for each run and one for each row.",
    "pairs": f"Intervals of laws fitted to {PAIRS_FROM} runs or more are quantiles over refits to runs "
    "resampled with replacement.",
}


def definitions(methods: Collection[str | None]) -> Raw:
    """The glossary. methods: those by which the study's intervals were drawn."""
    told = " ".join(how for method, how in INTERVALS.items() if method in methods)
    return Raw(WORDS.replace("{intervals}", told or "No intervals were drawn."))


WORDS = """<dl class="words">
<div><dt>N</dt><dd>Parameters without embeddings and output head (Kaplan et al. 2020). N<sub>total</sub>
counts all. An encoder-decoder's N counts both stacks, though each token passes through only one of
them.</dd></div>
<div><dt>D</dt><dd>Training tokens read, inputs and targets. D<sub>target</sub> counts those a loss was
asked of.</dd></div>
<div><dt>C</dt><dd>Training FLOPs of all matrix products and attention as executed, head included, forward
and backward. C<sub>6ND</sub> is the usual 6&thinsp;N&thinsp;D. The convention for N and C moves the
exponents more than the fit does.</dd></div>
<div><dt>Loss</dt><dd>Negative log-likelihood, in nats per token, of the same target tokens given the same
prefix, on one fixed validation set, whatever the architecture was trained on: the measure on which
architectures can be compared. A run's own objective has a loss of its own.</dd></div>
<div><dt>Fit</dt><dd>Minimises the sum of Huber(log L − log L̂). {intervals}
The interval for a new run adds the scatter around the law. Scatter: standard deviation
of log L around the fit.</dd></div>
<div><dt>Frontier</dt><dd>The least loss the fitted L(N, D) allows at C. N<sub>opt</sub> and
D<sub>opt</sub> are where it is reached. Extrapolated: they lie outside the sizes or tokens of the fitted
runs.</dd></div>
<div><dt>Small print</dt><dd>Laws fitted over so few decades of small models describe these models.
Exponents of models a million times larger are another question.</dd></div>
</dl>"""
