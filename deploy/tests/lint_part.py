"""Scripts and Containerfiles by their linters, and deploy/README.md by what lies in deploy/."""

import re
import sys
from pathlib import Path

from checks import CHECKOUT, part, run

DEPLOY = CHECKOUT / "deploy"
TOOLS = Path(sys.executable).parent
# What has a table of its own, and these tests.
OF_OTHERS = ("monitoring", "tests")


def body(checks, _folder):
    scripts = [path for path in sorted(DEPLOY.rglob("*")) if path.suffix in (".sh", ".sbatch")] + [
        CHECKOUT / "scripts" / "need.sh"
    ]
    said = run(TOOLS / "shellcheck", *scripts, check=False)
    checks.that(f"shellcheck: {len(scripts)} scripts", said.returncode == 0, said.stdout)
    said = run(TOOLS / "hadolint", DEPLOY / "images" / "Containerfile", check=False)
    checks.that("hadolint: Containerfile", said.returncode == 0, said.stdout)
    table = (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"^\| `([^`]+[^/`])`", table, re.M))
    named = {name for name in named if Path(name).parts[0] not in OF_OTHERS}
    there = {
        str(path.relative_to(DEPLOY))
        for path in DEPLOY.rglob("*")
        if path.is_file()
        and path.relative_to(DEPLOY).parts[0] not in OF_OTHERS
        and path.name not in ("README.md", ".gitignore")
    }
    there = {name for name in there if not name.startswith(("compose/secrets/", "compose/.env"))}
    checks.that(
        "deploy/README.md says of every file what ran",
        named == there,
        f"not in the table {there - named}, not there {named - there}",
    )


part("lint", body)
