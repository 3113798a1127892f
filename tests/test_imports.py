"""The import rules of pyproject.toml, held by the import linter; and what no linter sees."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_import_rules_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_analysis_loads_without_torch_and_hydra():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "analysis").rglob("[a-z]*.py")
    ]
    modules = [name for name in modules if "notebooks" not in name]
    assert len(modules) > 3
    code = (
        f"import sys, {', '.join(modules)}\nprint(sorted({{'torch', 'hydra', 'wandb'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
