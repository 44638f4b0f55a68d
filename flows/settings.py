"""All settings, composed once from the home's `tradewind.toml`: flag > TRADEWIND_* > file > default."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from feature_store._errors import FeatureStoreError
from feature_store.settings import FeedSettings
from flows._errors import FlowError
from serving.settings import AccountSettings
from tasks.settings import MlflowSettings, PipelineSettings

SETTINGS_VERSION = 1
FILE_NAME = "tradewind.toml"


class Settings(BaseSettings):
    """Everything a user can set. Environment: TRADEWIND_MLFLOW__TRACKING_URI sets `[mlflow] tracking_uri`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="TRADEWIND_", env_nested_delimiter="__")
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


def load(home: Path) -> Settings:
    """Settings of that home; defaults when it has no file. Raises `FlowError` with one line for anything wrong."""
    path = home / FILE_NAME
    raw: dict[str, Any] = {}
    if path.is_file():
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FlowError(f"{path}: not valid TOML: {error}") from None
        version = raw.get("settings_version")
        if not isinstance(version, int):
            raise FlowError(f"{path}: settings_version is missing; write settings_version = {SETTINGS_VERSION} at the top")
        if version > SETTINGS_VERSION:
            raise FlowError(
                f"{path}: settings_version {version} is newer than this Tradewind knows ({SETTINGS_VERSION}); update Tradewind"
            )
    try:
        return Settings(**raw)
    except ValidationError as error:
        raise FlowError(f"{path}: {explain(error)}") from None
    except FeatureStoreError as error:
        raise FlowError(f"{path}: {error}") from None


def explain(error: ValidationError) -> str:
    """The first thing wrong, in one line, with the nearest known key for an unknown one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
        return f"unknown key {where!r}; the nearest known one is {near[0]!r}" if near else f"unknown key {where!r}"
    given = "" if first["type"] == "missing" else f" (got {first['input']!r})"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{given}"


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """Names of the settings that exist at that place."""
    model: Any = Settings
    for part in path:
        field = getattr(model, "model_fields", {}).get(str(part))
        annotation = model if field is None else field.annotation
        inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        model = inner[0] if inner else annotation
    return list(getattr(model, "model_fields", {}))
