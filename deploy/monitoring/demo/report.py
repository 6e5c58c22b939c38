"""What a demonstration says of itself, and how it ends."""

import shutil
import signal
import sys
import time
from pathlib import Path

from fleet import REPOSITORY
from processes import Failed, Processes


class Report:
    """What holds and what does not, as it is seen."""

    def __init__(self):
        self.begin, self.failed = time.monotonic(), 0

    def say(self, text):
        print(f"{time.monotonic() - self.begin:5.0f} s  {text}", flush=True)

    def judge(self, good, text, wrong=()):
        self.failed += not good
        self.say(f"{'ok   ' if good else 'WRONG'} {text}")
        for line in wrong:
            print(f"         {line}", flush=True)


def present(name, work):
    """Does `work` in the folder of the command line, or runs/NAME, and ends with exit code 0 when all of it holds."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "runs" / name).resolve()
    report = Report()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with Processes(folder / "logs") as processes:
            work(folder, processes, report)
    except Failed as error:
        report.judge(False, f"{error}; logs are in {folder / 'logs'}")
    report.say("all holds" if not report.failed else f"{report.failed} things do not hold")
    sys.exit(1 if report.failed else 0)
