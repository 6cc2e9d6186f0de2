"""The package as it is built and started."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_of_the_tree_is_in_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    skipped = {"tests", "build", "dist"}
    found = {
        ".".join(("ndtool", *path.parent.relative_to(ROOT).parts))
        for path in ROOT.rglob("__init__.py")
        if not any(part.startswith(".") or part in skipped for part in path.parent.relative_to(ROOT).parts)
    }
    assert set(listed) == found


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from ndtool.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'rich', 'onnx', 'unicorn', 'litert_torch') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("[]\n")
    assert "train" in output


def test_no_module_is_imported_by_its_bare_name():
    """`import train` from the checkout would load a second copy of the package."""
    names = ("train", "export", "quantize", "benchmarks", "cli")
    for path in ROOT.rglob("*.py"):
        if any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in names, f"{path}: {line}"


def test_a_model_file_is_benched_without_pytorch():
    """It takes longer to import than a small network to measure."""
    modules = "ndtool.cli, ndtool.benchmarks.bench, ndtool.benchmarks.subject, ndtool.benchmarks.report.sections"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
