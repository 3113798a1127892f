"""Names of parameters as people write them: alpha_N is α with subscript N, R_D_star has a star."""

import re
from collections.abc import Sequence

from analysis.report.html import Raw, prose, text

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eta": "η"}
STAR = "star"
FIRST = 0xE000  # of the characters that Unicode leaves to private use: they stand for names while text is set


def _parts(name: str) -> tuple[str, str, str]:
    """Letter, subscript and superscript."""
    base, *rest = name.split("_")
    below = ",".join(GREEK.get(word, word) for word in rest if word != STAR)
    return GREEK.get(base, base), below, "*" if STAR in rest else ""


def markup(name: str) -> Raw:
    """For a page."""
    base, below, above = map(text, _parts(name))
    return Raw(base + (f"<sub>{below}</sub>" if below else "") + (f"<sup>{above}</sup>" if above else ""))


def mathtext(name: str) -> str:
    """For a figure."""
    base, below, above = _parts(name)
    if not (below or above):
        return base
    return f"${base}" + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "") + "$"


def sentence(plain: str, names: Sequence[str]) -> Raw:
    """Escaped text in which parameters go by their `names`, set as symbols; the rest as `html.prose` does."""
    longest = sorted(names, key=len, reverse=True)
    pattern = rf"\b({'|'.join(map(re.escape, longest))})\b"
    out = prose(re.sub(pattern, lambda found: chr(FIRST + longest.index(found[0])), plain))
    stand_ins = "".join(chr(FIRST + k) for k in range(len(longest)))
    out = re.sub(rf"\^(-?[{stand_ins}])", r"<sup>\1</sup>", out)
    for k, name in enumerate(longest):
        out = out.replace(chr(FIRST + k), markup(name))
    return Raw(out)
