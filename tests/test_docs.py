"""The documents name what the code has: nothing that stays can be added, renamed or dropped without its page."""

import dataclasses
import re
from pathlib import Path

import pytest

from feature_store.settings import FeedSettings, MarketSettings
from flows.cli import app
from flows.settings import Settings
from serving import risk
from serving.decision import DecisionSpec
from serving.manifest import Manifest
from serving.settings import AccountSettings, LineSettings, RiskBase, RiskDay
from tasks import settings as tasks_settings

ROOT = Path(__file__).resolve().parent.parent
INTERFACES = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
MODELS = [
    Settings, FeedSettings, MarketSettings, AccountSettings, LineSettings, RiskBase, RiskDay, tasks_settings.PipelineSettings,
    tasks_settings.LabelSettings, tasks_settings.FoldSettings, tasks_settings.BudgetSettings, tasks_settings.DecisionSettings,
    tasks_settings.GateSettings, tasks_settings.MlflowSettings,
]  # fmt: skip


def named(word: str) -> bool:
    return re.search(rf"[`.\[]{re.escape(word)}\b", INTERFACES) is not None


def test_every_sub_command_stands_in_the_interfaces():
    commands = [c.name or c.callback.__name__ for c in app.registered_commands]
    assert len(commands) >= 16
    assert [c for c in commands if not named(c)] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_setting_stands_in_the_interfaces(model):
    assert [name for name in model.model_fields if not named(name)] == []


def test_every_risk_rule_setting_stands_in_the_interfaces_with_its_default():
    assert len(risk.SETTINGS) >= 10
    for name, setting in risk.SETTINGS.items():
        assert named(name)
        shown = re.search(rf"`{name}`[^(`]*\(([^)]*)\)", INTERFACES)
        assert shown, name
        assert shown.group(1) == "no limit" or float(shown.group(1)) == setting.default, name


def test_the_manifest_keys_are_exactly_those_of_the_interfaces():
    paragraph = INTERFACES.split("exactly these keys:")[1].split("\n\n")[0]
    listed = re.findall(r"`([a-z_]+)`", paragraph)
    assert sorted(listed) == sorted(f.name for f in dataclasses.fields(Manifest))


def test_the_decision_keys_are_exactly_those_of_the_interfaces():
    paragraph = INTERFACES.split("`decision` has")[1].split("\n\n")[0]
    assert re.findall(r"`([a-z_]+)`", paragraph) == list(DecisionSpec._fields)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/architecture.md", "docs/interfaces.md", "docs/windows.md", "docs/features.md"]
)
def test_every_local_link_leads_to_a_file(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
