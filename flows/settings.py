"""All settings, composed once from the home's `tradewind.toml`: flag > TRADEWIND_* > file > default."""

from __future__ import annotations

import difflib
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from feature_store._errors import FeatureStoreError
from feature_store.settings import FeedSettings
from flows._errors import FlowError
from serving.settings import AccountSettings
from tasks.settings import MlflowSettings, PipelineSettings

SETTINGS_VERSION = 1
FILE_NAME = "tradewind.toml"
_PREFIX = "TRADEWIND_"
_OTHER_VARIABLES = ("HOME", "VENV", "CHECKOUT")
"""What else of that prefix the environment may hold: the home, and what run.py and prefect.yaml read."""


class Settings(BaseSettings):
    """Everything a user can set. Environment: TRADEWIND_MLFLOW__TRACKING_URI sets `[mlflow] tracking_uri`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=_PREFIX, env_nested_delimiter="__")
    settings_version: int = SETTINGS_VERSION
    lock_wait_s: float = Field(default=30.0, ge=0.0)
    """How long a writer of the bar store waits for another writer."""
    mlflow: MlflowSettings = MlflowSettings()
    feeds: dict[str, FeedSettings] = {}
    accounts: dict[str, AccountSettings] = {}
    pipelines: dict[str, PipelineSettings] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # the file comes in through init

    def feed(self, name: str) -> FeedSettings:
        """Settings of a feed; a feed known only from ingested files has the defaults."""
        return self.feeds.get(name, FeedSettings())

    def pipeline(self, name: str) -> PipelineSettings:
        """Settings of a pipeline. Raises `FlowError` naming those there are."""
        return self.pipelines[_known(self.pipelines, name, "pipeline")]

    def account(self, name: str) -> AccountSettings:
        """Settings of an account. Raises `FlowError` naming those there are."""
        return self.accounts[_known(self.accounts, name, "account")]


def _known(table: Mapping[str, object], name: str, kind: str) -> str:
    if name in table:
        return name
    there = ", ".join(sorted(table)) or "none"
    raise FlowError(f"{kind} {name!r} is not in {FILE_NAME}; there is: {there}; add a table [{kind}s.{name}]")


def home_folder(flag: Path | None = None) -> tuple[Path, bool]:
    """The home, and whether the user named it (flag or TRADEWIND_HOME) rather than it being the default."""
    if flag is not None:
        return flag.expanduser().resolve(), True
    if named := os.environ.get("TRADEWIND_HOME"):
        return Path(named).expanduser().resolve(), True
    return Path(".tradewind").resolve(), False


def writable(home: Path) -> Path:
    """The home, made if it was not there. Raises `FlowError` when this user cannot write in it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError as error:
        raise FlowError(
            f"home {home} cannot be written ({error.strerror}); give this user the right to, or name another with --home"
        ) from None


def load(home: Path) -> Settings:
    """Settings of that home; defaults when it has no file. Raises `FlowError` with one line for anything wrong."""
    path = home / FILE_NAME
    raw = _read(path) if path.is_file() else {}
    try:
        _refuse_unknown_variables()
        return Settings(**raw)
    except ValidationError as error:
        raise FlowError(f"{_variable_of(error) or path}: {explain(error)}") from None
    except SettingsError as error:
        raise FlowError(f"environment: {error}; a whole table is written as JSON") from None
    except FeatureStoreError as error:
        raise FlowError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FlowError(f"{path}: not valid TOML: {error}") from None
    version = raw.get("settings_version")
    if not isinstance(version, int):
        raise FlowError(f"{path}: settings_version is missing; write settings_version = {SETTINGS_VERSION} at the top")
    if version > SETTINGS_VERSION:
        raise FlowError(
            f"{path}: settings_version {version} is newer than this Tradewind knows ({SETTINGS_VERSION}); update Tradewind"
        )
    return raw


def _refuse_unknown_variables() -> None:
    """A misspelt variable would otherwise be passed over, and the setting it means stay as it was."""
    known = [f"{_PREFIX}{name}".upper() for name in (*Settings.model_fields, *_OTHER_VARIABLES)]
    for name in os.environ:
        if name.upper().startswith(_PREFIX) and name.upper().split("__")[0] not in known:
            raise FlowError(f"unknown environment variable {name}; the nearest known one is {_nearest(name.upper(), known)}")


def _variable_of(error: ValidationError) -> str:
    """The environment variable that set what is wrong, empty when the file did."""
    name = _PREFIX + "__".join(str(part) for part in _first(error)["loc"]).upper()
    return name if name in os.environ else ""


def _nearest(wrong: str, known: list[str]) -> str:
    return difflib.get_close_matches(wrong, known, n=1, cutoff=0.0)[0]


def explain(error: ValidationError) -> str:
    """What is wrong, in one line, with the nearest known key for an unknown one."""
    first = _first(error)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = _nearest(str(first["loc"][-1]), _keys_at(first["loc"][:-1]))
        return f"unknown key {where!r}; the nearest known one is {near!r}"
    said = first["msg"].removeprefix("Value error, ")
    # A whole table would be a long answer, and may hold what is nobody's business.
    given = f" (got {first['input']!r})" if isinstance(first["input"], str | int | float) else ""
    return f"{where}: {said}{given}" if where else said


def _first(error: ValidationError) -> Any:
    """The error to tell of. A misspelt key comes before the required one that it leaves missing."""
    found = error.errors()
    return next((e for e in found if e["type"] == "extra_forbidden"), found[0])


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """Names of the settings that exist at that place."""
    place: Any = Settings
    for part in path:
        if hasattr(place, "model_fields"):
            place = place.model_fields[str(part)].annotation
            place = _model_in(place) if get_origin(place) is UnionType else place  # a table that may be absent
        else:
            place = _model_in(place)  # in a table of tables or a list, the name or number is the user's own
    return list(getattr(place, "model_fields", {}))


def _model_in(kind: Any) -> Any:
    return next((inner for inner in get_args(kind) if hasattr(inner, "model_fields")), kind)
