"""The section ``alerts``: channels, routes, secrets in lists."""

import json
import re
from datetime import time, timedelta
from pathlib import Path
from typing import get_args

import pytest

from c4_assets.operations.alerts.incidents import INHIBITS
from c4_assets.operations.alerts.records import Event
from c4_assets.operations.alerts.rules import Rules
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.settings.alerts import EventName, Route
from resources.settings.reference import SCHEMA, effective

SECRET = "hunter2-xyz"

SITE = """
[alerts]
quiet_hours = "22:00-07:00"
time_zone = "Europe/London"
repeat_hours = 6

[alerts.email]
host = "mail.facility.org"
sender = "c4@facility.org"

[[alerts.routes]]
events = ["digest", "crystals-found"]
channels = ["email"]

[[alerts.routes]]
least = "error"
channels = ["slack", "apprise-2"]
quiet = true
"""


def read(folder: Path, text: str, **variables: str) -> Settings:
    file = folder / "site.toml"
    file.write_text(text)
    return Settings.from_environment({"C4_CONFIG": str(file), **variables})


def refusal(folder: Path, text: str, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text, **variables)
    return str(caught.value)


def test_the_events_of_routes_are_those_that_there_are() -> None:
    assert get_args(EventName) == tuple(Event)


def test_routes_and_hours_of_the_file_are_the_rules(tmp_path: Path) -> None:
    rules = Rules.of(read(tmp_path, SITE).alerts)
    assert rules.routes == (
        Route(channels=("email",), events=("digest", "crystals-found")),
        Route(channels=("slack", "apprise-2"), least="error", quiet=True),
    )
    assert rules.quiet == (time(22), time(7))
    assert rules.repeat_interval == timedelta(hours=6)
    assert str(rules.zone) == "Europe/London"


def test_routes_can_be_given_by_a_variable(tmp_path: Path) -> None:
    settings = read(tmp_path, SITE, C4_ALERTS_ROUTES='[{ least = "warning", channels = ["webhook"] }]')
    assert [(route.least, route.channels) for route in settings.alerts.routes] == [("warning", ("webhook",))]


def test_what_is_in_effect_of_alerts_is_a_file_that_has_the_same_effect(tmp_path: Path) -> None:
    settings = read(tmp_path, SITE)
    assert read(tmp_path, effective(settings, show_sources=True)).alerts == settings.alerts


def test_addresses_of_apprise_are_a_list_or_one_a_line(tmp_path: Path) -> None:
    for given in ('["json://a", "json://b"]', "json://a\njson://b\n"):
        alerts = read(tmp_path, "", C4_ALERTS_APPRISE=given).alerts
        assert [address.get_secret_value() for address in alerts.apprise] == ["json://a", "json://b"]


def test_secrets_of_alerts_come_from_variables_and_are_shown_nowhere(tmp_path: Path) -> None:
    names = ("SLACK_WEBHOOK", "WEBHOOK", "HEARTBEAT_URL", "SLACK_TOKEN", "APPRISE", "EMAIL__PASSWORD")
    secrets = {f"C4_ALERTS_{name}": f"https://x/{SECRET}" for name in names}
    settings = read(tmp_path, SITE, **secrets)
    assert SECRET not in repr(settings) + str(settings) + effective(settings, show_sources=True)
    assert settings.alerts.email is not None
    assert settings.alerts.email.password is not None
    schema = json.loads(SCHEMA.read_text())["$defs"]
    assert "password" not in schema["Email"]["properties"]
    assert not {"slack_webhook", "webhook", "heartbeat_url", "apprise", "slack_token"} & set(
        schema["Alerts"]["properties"]
    )
    assert "least" in schema["Route"]["properties"]


@pytest.mark.parametrize(
    "line", ["slack_webhook = 'https://x/{}'", "apprise = ['json://x/{}']", "[alerts.email]\npassword = '{}'"]
)
def test_a_secret_of_alerts_in_the_file_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    message = refusal(tmp_path, "[alerts]\n" + line.format(SECRET))
    assert "which does not belong into this file" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("C4_ALERTS_SLACK_WEBHOOK", f"hooks.slack.com/{SECRET}", "must be one address, without spaces, that begins"),
        ("C4_ALERTS_WEBHOOK", f"https://a/{SECRET} # ours", "must be one address, without spaces, that begins"),
        ("C4_ALERTS_HEARTBEAT_URL", f"https://a/{SECRET}\nhttps://b/{SECRET}", "must be one address, without spaces"),
        ("C4_ALERTS_HEARTBEAT_URL", f"https://a/{SECRET}\x7f", "must be one address, without spaces, that begins"),
        ("C4_ALERTS_APPRISE", f'["json://{SECRET}", 3]', "alerts.apprise.1"),
        ("C4_ALERTS_APPRISE", f'["json://{SECRET}"', "must be a list as in the file"),
        ("C4_ALERTS_ORDER", '["pager"]', "must be a list of channels: slack, email, webhook, apprise"),
        ("C4_ALERTS_QUIET_HOURS", "22-7", 'must be two times of day like "22:00-07:00"'),
        ("C4_ALERTS_TIME_ZONE", "Europe/Londres", "must be a time zone like Europe/London"),
        ("C4_ALERTS_ROUTES", '[{ events = ["run-faild"], channels = [] }]', "alerts.routes.0.events.0 = 'run-faild'"),
        ("C4_ALERTS_ROUTES", "[{ evnts = [], channels = [] }]", "alerts.routes.0.evnts"),
        ("C4_ALERTS_EMAIL__PASSWORD", SECRET, "alerts.email.host cannot be used: it is required"),
    ],
)
def test_what_cannot_be_used_of_alerts_is_named_without_its_secret(
    tmp_path: Path, variable: str, value: str, rule: str
) -> None:
    message = refusal(tmp_path, "", **{variable: value})
    assert rule in message
    assert SECRET not in message


def test_a_wrong_value_in_a_route_is_named_with_the_line_of_the_first_route(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[alerts]\n\n[[alerts.routes]]\nleast = 'bad'\nchannels = []\n")
    assert f"({tmp_path / 'site.toml'}, line 3)" in message


PAGE = (Path(__file__).parents[1] / "docs" / "alerts.md").read_text()


def test_the_example_of_the_documentation_is_accepted_and_routes_as_it_says(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```toml\n(.+?)```", PAGE, re.DOTALL)
    rules = Rules.of(read(tmp_path, example).alerts)
    assert [route.channels for route in rules.routes] == [("email",), (), ("slack", "email")]
    assert rules.order == ("slack", "email")


def test_the_documentation_says_what_is_silent_while_what_holds() -> None:
    told = {
        cause: set(re.findall(r"`([\w-]+)`", silent))
        for causes, silent in re.findall(r"^\| (`[\w-]+-(?:away|silent)`.*?) \| (`[^|]+) \|$", PAGE, re.MULTILINE)
        for cause in re.findall(r"`([\w-]+)`", causes)
    }
    assert told == {str(cause): set(map(str, events)) for cause, events in INHIBITS.items()}
