"""What the parts of `make test-deploy` say: one line a check."""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target")) / "release"
# Beyond what anything here takes on a loaded machine: what is waited for either comes or never does.
LONGEST = 240


class Checks:
    """Checks of one part; run.py reads their outcomes from a file of lines."""

    def __init__(self, part, outcomes):
        self.part = part
        self.outcomes = outcomes

    def say(self, outcome, what, why=""):
        print(f"{self.part:<11} {outcome:<8} {what}{': ' + why if why else ''}", flush=True)
        with open(self.outcomes, "a") as file:
            file.write(json.dumps(outcome) + "\n")

    def that(self, what, holds, why=""):
        """Says ok or no; `why` is what was seen instead."""
        self.say("ok" if holds else "no", what, "" if holds else str(why)[-2000:])
        return bool(holds)

    def not_run(self, what, why):
        self.say("not run", what, why)


def run(*command, check=True, **options):
    """Runs to the end; what it says is in the error when it fails."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done


def wait_for(what, condition, seconds=LONGEST, every=0.2):
    """The first true value of `condition()`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(every)


def part(name, body):
    """Runs `body(checks, folder)` as the program of one part: PART.py FOLDER OUTCOMES."""
    folder, outcomes = Path(sys.argv[1]), sys.argv[2]
    checks = Checks(name, outcomes)
    try:
        body(checks, folder)
    except Exception as error:  # whatever it is, the part says no and the others go on
        traceback.print_exc()
        checks.say("no", "the part came to its end", str(error))
