"""run.py, .ci/run and the list of licences: installs once, hands over, stops at the first check that fails."""

import ast
import importlib.util
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools import licences

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ["ruff check", "ruff format", "mypy", "lint-imports", "tools.licences --check", "pytest"]


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """run.py as a module, with an empty folder for its virtual environment and its lock."""
    monkeypatch.setenv("TRADEWIND_VENV", str(tmp_path / "venv"))
    spec = importlib.util.spec_from_file_location("run_for_test", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lock = tmp_path / "requirements.lock"
    lock.write_text("one==1.0\ntwo==2.0 ; sys_platform == 'win32'\n")
    module.LOCK = lock
    return module


class Commands:
    """Stands in for subprocess and venv: notes each command, and fails those that hold one of the words in `failing`."""

    def __init__(self, runner, monkeypatch, failing=()):
        self.runner, self.failing = runner, failing
        self.seen, self.environments = [], []
        monkeypatch.setattr(runner.subprocess, "run", self.ran)
        monkeypatch.setattr(runner.subprocess, "call", lambda command, **named: self.ran(command, **named).returncode)
        monkeypatch.setattr(runner.venv, "create", self.made)

    def ran(self, command, env=None, **named):
        program = Path(command[0]).name
        words = " ".join(map(str, command[1:] if program.startswith("python") else [program, *command[1:]]))
        self.seen.append(words)
        self.environments.append(env)
        return subprocess.CompletedProcess(command, int(any(word in words for word in self.failing)))

    def made(self, folder, with_pip, clear):
        assert with_pip
        self.seen.append("venv, emptied" if clear else "venv")
        self.runner.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        self.runner.PYTHON.touch()
        (Path(folder) / "pyvenv.cfg").write_text(f"home = x\nversion = {sys.version.split()[0]}\n")


def installed(runner, monkeypatch, failing=()):
    commands = Commands(runner, monkeypatch, failing)
    runner.install()
    return commands


def test_the_first_start_makes_the_environment_and_installs_the_lock_with_uv(runner, monkeypatch, capsys):
    seen = installed(runner, monkeypatch).seen
    assert seen[0] == "venv" and len(seen) == 4
    assert seen[1].startswith("-m pip -q install uv==")
    assert seen[2].startswith("-m uv pip install") and seen[2].endswith(f"-r {runner.LOCK}")
    assert "--no-deps" in seen[3] and seen[3].endswith(f"-e {runner.ROOT}")
    out, err = capsys.readouterr()
    assert "installing 2 packages" in err and out == ""  # stdout is the command's own


def test_a_second_start_costs_nothing(runner, monkeypatch):
    installed(runner, monkeypatch)
    assert installed(runner, monkeypatch).seen == []


def test_another_lock_is_installed_into_the_environment_that_is_there(runner, monkeypatch):
    installed(runner, monkeypatch)
    runner.LOCK.write_text("one==1.1\n")
    seen = installed(runner, monkeypatch).seen
    assert "venv" not in seen and len(seen) == 3
    assert installed(runner, monkeypatch).seen == []


def test_an_environment_of_another_python_is_made_anew(runner, monkeypatch):
    installed(runner, monkeypatch)
    (runner.VENV / "pyvenv.cfg").write_text("version = 3.10.1\n")
    (runner.VENV / "tradewind-install").unlink()
    assert installed(runner, monkeypatch).seen[0] == "venv, emptied"


def test_a_folder_that_is_no_environment_keeps_what_is_in_it(runner, monkeypatch):
    runner.VENV.mkdir()
    (runner.VENV / "letters.txt").write_text("dear")
    assert installed(runner, monkeypatch).seen[0] == "venv"


@pytest.mark.parametrize("failing", ["-m pip -q install uv==", "-m uv"])
def test_pip_installs_the_lock_where_uv_cannot_be_had_or_fails(runner, monkeypatch, failing):
    seen = installed(runner, monkeypatch, [failing]).seen
    assert f"-m pip -q install -r {runner.LOCK}" in seen
    assert installed(runner, monkeypatch).seen == []


def test_where_neither_can_install_it_says_so_and_tries_again_next_time(runner, monkeypatch):
    with pytest.raises(SystemExit, match=r"requirements\.lock could not be installed"):
        installed(runner, monkeypatch, ["requirements.lock"])
    assert len(installed(runner, monkeypatch).seen) == 3


def test_an_install_that_was_killed_is_made_again(runner, monkeypatch):
    installed(runner, monkeypatch)
    before = runner.LOCK.read_text()
    runner.LOCK.write_text("one==1.1\n")

    def killed(*words, env):
        raise KeyboardInterrupt

    with monkeypatch.context() as inner:
        inner.setattr(runner, "uv", killed)
        with pytest.raises(KeyboardInterrupt):
            installed(runner, inner)
    runner.LOCK.write_text(before)  # back to what stood there whole
    assert len(installed(runner, monkeypatch).seen) == 3


def test_folders_of_local_wheels_that_pip_is_told_of_reach_uv(runner, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "here there")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert installed(runner, monkeypatch).environments[1]["UV_FIND_LINKS"] == "here,there"


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_another_python_is_refused_before_anything_is_installed(runner, monkeypatch, version):
    commands = Commands(runner, monkeypatch)
    monkeypatch.setattr(runner.sys, "version_info", version)
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 to 3\.13; this is"):
        runner.install()
    assert commands.seen == []


def test_a_python_without_pip_is_told_which_package_to_install(runner, monkeypatch):
    Commands(runner, monkeypatch)

    def fails(folder, with_pip, clear):
        raise subprocess.CalledProcessError(1, "ensurepip")

    monkeypatch.setattr(runner.venv, "create", fails)
    with pytest.raises(SystemExit, match="python3-venv"):
        runner.install()


def checks_of(runner, monkeypatch, *arguments, failing=()):
    commands = Commands(runner, monkeypatch, failing)
    return runner.test(list(arguments)), [re.sub(r"^-m ", "", words) for words in commands.seen], commands


def test_the_test_command_lints_types_looks_at_layers_and_licences_and_leaves_slow_tests_out(runner, monkeypatch):
    code, seen, commands = checks_of(runner, monkeypatch)
    assert code == 0 and all(words.startswith(check) for words, check in zip(seen, CHECKS, strict=True))
    assert seen[-1].endswith("-m not slow")
    assert all(env["OMP_NUM_THREADS"] == "1" for env in commands.environments)


def test_with_all_the_slow_ones_run_too_and_other_words_reach_pytest(runner, monkeypatch):
    _, seen, _ = checks_of(runner, monkeypatch, "--all", "-k", "parity")
    assert "not slow" not in seen[-1] and seen[-1].endswith("-k parity")


@pytest.mark.parametrize("check", CHECKS)
def test_the_first_check_that_fails_ends_the_test_command(runner, monkeypatch, check):
    code, seen, _ = checks_of(runner, monkeypatch, failing=[check])
    assert code == 1 and len(seen) == CHECKS.index(check) + 1


def test_without_arguments_it_explains_itself(runner, capsys):
    assert runner.main([]) == 2
    assert "python3 run.py demo" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
def test_arguments_reach_the_command_as_they_are_and_its_status_comes_back(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    log = tmp_path / "log"
    python.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {log}\necho >> {log}\ncase "$2" in flows.cli) exit 3;; esac\n')
    python.chmod(0o755)
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"version = {sys.version.split()[0]}\n")
    environment = {**os.environ, "TRADEWIND_VENV": str(tmp_path / "venv")}
    for _ in range(2):
        done = subprocess.run([sys.executable, ROOT / "run.py", "ingest", "a file.csv", "--json"], env=environment, cwd=tmp_path)
        assert done.returncode == 3
    lines = log.read_text().splitlines()
    assert [line for line in lines if "flows.cli" in line] == ["-m|flows.cli|ingest|a file.csv|--json|"] * 2
    assert len(lines) == 3 + 2  # installed once


def test_run_py_needs_nothing_but_the_standard_library():
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_ci_runs_every_check_with_the_slow_tests_from_wherever_it_is_called(tmp_path):
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes(script.read_bytes())
    (tmp_path / "run.py").write_text("import os, sys\nprint(os.getcwd(), *sys.argv[1:])\nsys.exit(5)\n")
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], cwd="/", capture_output=True, text=True)
    assert done.returncode == 5 and done.stdout == f"{tmp_path} test --all\n"


# --- the lock


def test_the_lock_pins_every_dependency_and_holds_no_place_of_any_machine():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._\[\]-]+==[A-Za-z0-9.!]+( ; .+)?", line) for line in lines)
    pinned = {re.split(r"[=\[]", line)[0].lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert {re.split(r"[=<>\[ ;]", name)[0].lower() for name in wanted} <= pinned


@pytest.mark.parametrize(("name", "below"), [("fastapi", (0, 151)), ("sqlalchemy", (2, 1))])
def test_the_two_pins_without_which_prefect_breaks_hold(name, below):
    (version,) = licences.locked()[name]
    assert tuple(int(part) for part in version.split(".")[:2]) < below


def test_no_library_of_cuda_is_pinned_since_torch_names_its_own():
    assert not [name for name in licences.locked() if name.startswith(("nvidia-", "cuda-", "triton"))]


# --- licences


def test_the_list_of_licences_is_up_to_date_and_none_is_forbidden():
    text, wrong = licences.page()
    assert wrong == []
    assert (ROOT / "THIRD_PARTY_LICENCES.md").read_text(encoding="utf-8") == text


def page_with(monkeypatch, tmp_path, says):
    """What is wrong with a lock of one package that says this of its licence."""
    (tmp_path / "lock").write_text("thing==1.0\n")
    monkeypatch.setattr(licences, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(licences.metadata, "metadata", lambda name: Metadata(says))
    return licences.page()[1]


class Metadata(dict):
    def __init__(self, licence):
        super().__init__({"License": licence} if licence else {})

    def get_all(self, name):
        return []


@pytest.mark.parametrize("says", ["GPL-3.0-only", "AGPL-3.0", "GNU General Public License v3 (GPLv3)", "MIT with Commons Clause",
                                  "GNU Affero General Public License", "SSPL-1.0"])  # fmt: skip
def test_a_licence_that_may_not_be_in_the_product_is_refused(monkeypatch, tmp_path, says):
    (line,) = page_with(monkeypatch, tmp_path, says)
    assert "thing" in line and "may not be part of the product" in line


@pytest.mark.parametrize("says", ["MIT", "Apache-2.0", "LGPL-3.0-only", "GNU Lesser General Public License v3", "MPL-2.0"])
def test_a_licence_that_may_be_in_it_is_let_through(monkeypatch, tmp_path, says):
    assert page_with(monkeypatch, tmp_path, says) == []


def test_a_package_that_says_nothing_of_its_licence_has_to_be_looked_up(monkeypatch, tmp_path):
    (line,) = page_with(monkeypatch, tmp_path, "")
    assert "no licence is known" in line


def test_the_check_fails_on_a_list_that_is_out_of_date(monkeypatch, tmp_path, capsys):
    (tmp_path / "list.md").write_text("old\n")
    monkeypatch.setattr(licences, "LIST", tmp_path / "list.md")
    monkeypatch.setattr(sys, "argv", ["licences", "--check"])
    assert licences.main() == 1 and "out of date" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["licences"])
    licences.main()
    monkeypatch.setattr(sys, "argv", ["licences", "--check"])
    assert licences.main() == 0
