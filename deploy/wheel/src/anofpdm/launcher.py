"""Starts a program of this package with the libtorch of the PyTorch that is installed for this Python.

PyTorch is found and its version read without importing it, and this process becomes the program: no Python runs
while it works.
"""

import importlib.util
import os
import re
import sys
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "bin"
# The C++ interface of libtorch is that of one minor version.
NEEDED = "2.11"
USAGE = 2


class NoTorch(Exception):
    """There is no PyTorch that a worker could run with; the text says why and what to do."""


def torch_library_folder():
    """The folder of libtorch_cpu.so."""
    cure = f"run: {sys.executable} -m pip install 'torch=={NEEDED}.*'"
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise NoTorch(f"PyTorch is not installed for {sys.executable}; {cure}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        text = (folder / "version.py").read_text()
    except OSError as error:
        raise NoTorch(f"the PyTorch in {folder} cannot be read: {error}; {cure}") from error
    found = re.search(r"^__version__ = '([^']*)'", text, re.MULTILINE)
    version = found.group(1) if found else "of an unknown version"
    if not version.startswith(f"{NEEDED}."):
        raise NoTorch(f"PyTorch in {folder} is {version}, and this build needs {NEEDED}; {cure}")
    library = folder / "lib"
    if not (library / "libtorch_cpu.so").exists():
        raise NoTorch(f"{library} holds no libtorch_cpu.so; {cure}")
    return library


def environment(library):
    """This process's, with libtorch where a program looks first."""
    changed = dict(os.environ)
    before = changed.get("LD_LIBRARY_PATH")
    changed["LD_LIBRARY_PATH"] = f"{library}:{before}" if before else str(library)
    return changed


def become(name, variables):
    program = PROGRAMS / name
    sys.stdout.flush()
    os.execve(program, [str(program), *sys.argv[1:]], variables)


def worker():
    try:
        library = torch_library_folder()
    except NoTorch as error:
        print(f"anofpdm-worker: {error}", file=sys.stderr)
        sys.exit(USAGE)
    become("anofpdm-worker", environment(library))


def coordinator():
    """Needs no PyTorch itself; the workers that it starts find it, or say that it is missing."""
    variables = dict(os.environ)
    starter = Path(sys.argv[0]).resolve().with_name("anofpdm-worker")
    if starter.exists():
        variables.setdefault("ANOFPDM_WORKER", str(starter))
    if sys.argv[1:2] == ["demo"]:
        try:
            torch_library_folder()
        except NoTorch as error:
            print(f"anofpdm: {error}", file=sys.stderr)
            sys.exit(USAGE)
    become("anofpdm", variables)
