"""Code that the user brings: found in their folders first, run fresh and under fixed randomness, named by its digest.

A dotted path comes in; a module goes out, and the SHA-256 of all files of theirs that it was made of. What the code
defines is no matter here.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import random
import sys
import sysconfig
from collections.abc import Callable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch

from worker.errors import ArchitectureError
from worker.model.shortage import is_shortage

OWN = frozenset({"worker", "producer"})
"""Packages of ours: no code of the user's, also where they stand in the working directory."""

LIBRARIES = frozenset({"site-packages", "dist-packages"})
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))

Value = TypeVar("Value")

_brought: set[str] = set()
"""Names of the modules that models brought along so far."""


def calling(dotted: str, what: str, call: Callable[[], Value]) -> Value:
    """Return what the user's code returns; its errors become ours, but for those that say that memory is short.

    Raises:
        ArchitectureError: saying ``what`` failed, and why.
    """
    try:
        return call()
    except ArchitectureError:
        raise
    except (Exception, SystemExit) as error:
        if is_shortage(error):
            raise
        raise ArchitectureError(f"{dotted} {what}: {type(error).__name__}: {error}") from error


class UserCode:
    """The code behind ``module:Class``; used as a context around all that runs it until the model is ready.

    Inside, the folders are searched before all others, helpers that an earlier model brought are imported again, and
    random numbers are the same each time. Of several models in one process each keeps the helpers that it imported at
    the top of a file; one that is imported within a function is that of the model that was loaded last.

    Args:
        dotted: what it is called in messages.
        name: of the module.
        folders: where it is looked for.
    """

    def __init__(self, dotted: str, name: str, folders: list[Path]) -> None:
        self.dotted, self.name, self.folders = dotted, name, folders
        self.source = next((path for folder in folders if (path := folder / f"{name}.py").is_file()), None)
        self._roots = list(folders)
        self._files: set[Path] = set()
        self._running = contextlib.ExitStack()

    def __enter__(self) -> UserCode:
        """Begin to run it."""
        static = _imports(self.source, self.name, self.folders)
        for name in filter(_is_theirs, {*static, *_brought}):
            loaded = _file_names(sys.modules.get(name))
            if any(map(_is_no_library, loaded)):
                del sys.modules[name]
            for path in loaded.union([static[name]] if name in static else []):
                _forget_bytecode(path)
        importlib.invalidate_caches()
        self._files |= {path for name, path in static.items() if _is_theirs(name)}
        self._before = set(sys.modules)
        self._path = list(sys.path)
        sys.path[:0] = map(str, self.folders)
        self._running.enter_context(fixed_randomness())
        return self

    def __exit__(self, *_: object) -> None:
        """Leave random numbers and the path as they were, but for what the code added; the folders move to its end."""
        self._running.close()
        sys.path[:] = list(dict.fromkeys([*self._path, *map(str, self.folders), *sys.path]))

    def load(self) -> ModuleType:
        """Run the module.

        Raises:
            ArchitectureError: saying where it was looked for, or why it cannot be run.
        """
        return self._load_installed() if self.source is None else self._load_file(self.source)

    def digest(self) -> str:
        """Return the SHA-256 of the files that were imported so far, in their places within their folders."""
        new = [name for name in sys.modules if name not in self._before and _is_theirs(name)]
        files = self._files.union(*(_file_names(sys.modules[name]) for name in new))
        _brought.update(name for name in new if any(map(self._place, _file_names(sys.modules[name]))))
        named = {self._place(path): path for path in files}
        digest = hashlib.sha256()
        for place, path in sorted((place, path) for place, path in named.items() if place):
            digest.update(place.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _place(self, path: Path) -> str:
        """Return where a file lies within the first folder of the user's that has it; "" if it is none of theirs."""
        for root in self._roots:
            library = path.is_relative_to(STANDARD_LIBRARY) and not root.is_relative_to(STANDARD_LIBRARY)
            if path.is_relative_to(root) and not library and not LIBRARIES & set(path.relative_to(root).parts):
                return str(path.relative_to(root))
        return ""

    def _load_file(self, source: Path) -> ModuleType:
        """Run a file as a module of its own, under a name that changes with its content."""
        code = source.read_bytes()
        name = f"_seedmill_{source.stem}_{hashlib.sha256(str(source).encode() + code).hexdigest()[:16]}"
        spec = importlib.util.spec_from_file_location(name, source)
        if spec is None:
            raise ArchitectureError(f"{source} cannot be imported: it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        self._files.add(source)
        try:
            run = compile(code, source, "exec", dont_inherit=True)
            calling(self.dotted, "cannot be imported", lambda: exec(run, vars(module)))  # noqa: S102
        except (ArchitectureError, SyntaxError) as error:
            del sys.modules[name]
            missing = error.__cause__
            if isinstance(missing, ModuleNotFoundError):
                raise ArchitectureError(
                    f"{source} needs {missing.name!r}, which is not installed: install it"
                ) from missing
            if isinstance(error, SyntaxError):
                raise ArchitectureError(f"{source} cannot be imported: SyntaxError: {error}") from error
            raise
        return module

    def _load_installed(self) -> ModuleType:
        top = self.name.partition(".")[0]
        known = top not in {"__main__", *sys.stdlib_module_names} and importlib.util.find_spec(top) is not None
        if not known:
            places = " and ".join(map(str, self.folders))
            raise ArchitectureError(f"{self.name}.py was not found in {places}: put it beside the checkpoint")
        module = calling(self.dotted, "cannot be imported", lambda: importlib.import_module(self.name))
        package = sys.modules[top]
        if package.__file__ is not None and hasattr(package, "__path__"):
            self._roots.append(Path(package.__file__).parent)
        elif module.__file__ is not None:
            self._roots.append(Path(module.__file__).parent)
        self._files |= _file_names(module)
        return module


def _is_theirs(name: str) -> bool:
    return name.partition(".")[0] not in OWN


def _is_no_library(path: Path) -> bool:
    return not path.is_relative_to(STANDARD_LIBRARY) and not LIBRARIES & set(path.parts)


def _forget_bytecode(path: Path) -> None:
    """Remove what was compiled of a file: Python takes it for fresh if the file changed within the same second."""
    if _is_no_library(path):
        with contextlib.suppress(OSError, NotImplementedError):
            Path(importlib.util.cache_from_source(path)).unlink()


def random_states() -> tuple[bytes, ...]:
    """Return the states of the generators that everybody's code draws from."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)  # noqa: S101  # which it is for this argument
    return torch.get_rng_state().numpy().tobytes(), repr(numpy).encode(), repr(random.getstate()).encode()


@contextlib.contextmanager
def fixed_randomness(seed: int = 0) -> Iterator[None]:
    """Draw the same random numbers each time, and leave the generators as they were."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _file_names(module: object) -> set[Path]:
    file = getattr(module, "__file__", None)
    return {Path(file)} if isinstance(file, str) and file.endswith(".py") else set()


def _imports(source: Path | None, name: str, folders: list[Path]) -> dict[str, Path]:
    """Return the modules in the folders that a module imports, also within functions, and what these import."""
    finder = ModuleFinder(path=[str(folder) for folder in folders])
    with contextlib.suppress(Exception):  # what cannot be read is told when it is run
        if source is None:
            finder.import_hook(name)
        else:
            finder.run_script(str(source))
    named = {str(name): _file_names(module) for name, module in finder.modules.items() if name != "__main__"}
    return {name: path for name, paths in named.items() for path in paths}
