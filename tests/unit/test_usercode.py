"""The code of a user's network: found in their folders, named by its digest, and the same each time that it is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.users import User
from worker.errors import ArchitectureError


def test_a_file_that_is_not_there_or_does_not_import_is_named_with_where_it_was_looked_for(user: User) -> None:
    with pytest.raises(ArchitectureError, match=rf"absent\.py was not found in {user.folder}"):
        user.load(architecture="absent:Net")
    (user.folder / f"{user.module}.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(ArchitectureError, match="needs 'a_package_that_is_not_there'"):
        user.load()
    for line, words in (("1 / 0", "ZeroDivisionError"), ("raise SystemExit(0)", "SystemExit")):
        (user.folder / f"{user.module}.py").write_text(line)
        with pytest.raises(ArchitectureError, match=words):
            user.load()
    with pytest.raises(ArchitectureError, match=r"time\.py was not found"):
        user.load(architecture="time:Net")


def test_what_a_users_file_prints_is_kept_out_of_our_output(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    path = user.folder / f"{user.module}.py"
    path.write_text(f"print('loading')\n{path.read_text()}")
    user.load()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "loading\n")


def test_the_model_id_and_the_results_follow_the_code(user: User) -> None:
    first = user.load()
    assert user.load().info.id == first.info.id
    user.write(pictures="pictures / 2")
    second = user.load()
    assert second.info.id != first.info.id
    assert second.generate([3])[0].pixels.mean() < first.generate([3])[0].pixels.mean()


def test_two_classes_of_the_same_name_in_two_folders_are_two_models(user: User, tmp_path: Path) -> None:
    first = user.load()
    (tmp_path / "other").mkdir()
    other = User(tmp_path / "other")
    other.module = user.module
    other.write(pictures="pictures / 2")
    assert other.load().info.id != first.info.id
    assert other.load().generate([3])[0].pixels.mean() < first.generate([3])[0].pixels.mean()


def write_with(user: User, line: str, change: str) -> Path:
    """Let the user's file begin with a line, and its pictures be multiplied by something; return its folder."""
    user.write(pictures=f"pictures * {change}")
    path = user.folder / f"{user.module}.py"
    path.write_text(f"{line}\n{path.read_text()}")
    return user.folder


HELPED = {
    "a value": ("from HELPER import GAIN", "GAIN", "GAIN = {}"),
    "a function": ("from HELPER import shade", "shade()", "def shade():\n    return {}"),
    "a partial": (
        "from HELPER import shade",
        "shade()",
        "import functools\nshade = functools.partial(float, {})",
    ),
    "a module": ("import HELPER", "HELPER.GAIN", "GAIN = {}"),
    "within a function": ("", "__import__('importlib').import_module('HELPER').GAIN", "GAIN = {}"),
}


@pytest.mark.parametrize("how", HELPED)
def test_id_and_pictures_follow_a_helper_whatever_is_taken_from_it(user: User, how: str) -> None:
    line, change, text = HELPED[how]
    name = f"helper_{user.module}"
    folder = write_with(user, line.replace("HELPER", name), change.replace("HELPER", name))
    (folder / f"{name}.py").write_text(text.format(1.0))
    first = user.load()
    wanted = first.generate([3])[0].pixels
    (folder / f"{name}.py").write_text(text.format(0.5))
    second = user.load()
    assert second.info.id != first.info.id
    assert second.generate([3])[0].pixels.mean() < 0.7 * wanted.mean()
    if how != "within a function":
        assert np.array_equal(first.generate([3])[0].pixels, wanted), "a model that was loaded stays as it is"


def test_a_helper_of_a_helper_in_the_folder_above_counts_and_other_files_do_not(user: User) -> None:
    name = f"package_{user.module}"
    inner = user.folder / name / "nets"
    inner.mkdir(parents=True)
    (user.folder / name / "__init__.py").touch()
    (inner / "__init__.py").touch()
    (inner / "mod.py").write_text(
        f"from ..common import GAIN\n{(user.folder / f'{user.module}.py').read_text()}".replace(
            "return pictures, tokens", "return pictures * GAIN, tokens"
        )
    )
    ids: list[str] = []
    for text in ("GAIN = 1.0", "GAIN = 0.5", "GAIN = 1.0"):
        (user.folder / name / "common.py").write_text(text)
        (user.folder / f"unrelated_{len(ids)}.py").write_text("pass")
        ids.append(user.load(architecture=f"{name}.nets.mod:Net").info.id)
    assert ids[0] == ids[2] != ids[1]


def test_two_folders_with_a_helper_of_one_name_are_two_models(user: User, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = User(tmp_path / "other")
    name = f"helper_{user.module}"
    for one, gain in ((user, 1.0), (other, 0.5)):
        (write_with(one, f"from {name} import GAIN", "GAIN") / f"{name}.py").write_text(f"GAIN = {gain}")
    first, second = user.load(), other.load()
    assert second.generate([3])[0].pixels.mean() < 0.7 * first.generate([3])[0].pixels.mean()


def test_random_numbers_that_the_code_draws_once_are_the_same_in_every_process(user: User) -> None:
    line = (
        "import random\nimport numpy as np\nimport torch as t\nDRAWN = t.rand(1) * random.random() * np.random.rand()"
    )
    write_with(user, line, "DRAWN.item()")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = user.load().generate([3])[0]
    assert torch.equal(before, torch.get_rng_state()), "those of the caller are left alone"
    torch.manual_seed(2)
    np.random.seed(2)  # the old generator is what is meant
    assert np.array_equal(user.load().generate([3])[0].pixels, first.pixels)


@pytest.mark.parametrize("draw", ["torch.rand(1)", "(torch.manual_seed(0), torch.rand(1))[1]", "np.random.rand()"])
def test_code_that_draws_random_numbers_at_every_call_is_refused(user: User, draw: str) -> None:
    write_with(user, "import numpy as np", f"float({draw})")
    with pytest.raises(ArchitectureError, match="draws random numbers when it decodes"):
        user.load()


@pytest.mark.parametrize("name", ["__main__:Net", "architecture.py:Net"])
def test_names_that_cannot_be_meant_are_refused(user: User, name: str) -> None:
    with pytest.raises(ArchitectureError, match=r"was not found|leave out \.py"):
        user.load(architecture=name)
