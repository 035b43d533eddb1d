"""`c4 doctor` says whether anybody hears of trouble."""

from c4_assets.command.doctor import look_around
from resources.findings import Verdict
from testing.http_receiver import Answer, http_receiver
from testing.listeners import listener, say_nothing
from tests.doctor.place import PATIENCE_S, Place, as_printed, findings

PASSED, WARNED, FAILED, NOT_SEEN = Verdict


def test_a_test_message_is_sent_when_asked_for_and_a_channel_that_refuses_it_is_named(place: Place) -> None:
    with http_receiver() as web:
        place.set(C4_ALERTS_WEBHOOK=f"{web.url}/hook/pl4nted-secret")
        quiet = {each.id: each for each in findings(look_around(patience=PATIENCE_S))}
        assert quiet["channels"].what.startswith("messages go to webhook")
        assert web.received == []
        sent = {each.id: each for each in findings(look_around(patience=PATIENCE_S, send_test=True))}
        assert sent["channels.webhook"].verdict is PASSED
        assert len(web.received) == 1
        web.answer = Answer(status=500, body=b"broken")
        refused = {each.id: each for each in findings(look_around(patience=PATIENCE_S, send_test=True))}
    assert refused["channels.webhook"].verdict is FAILED
    assert "500" in refused["channels.webhook"].fix
    assert "pl4nted-secret" not in as_printed(list(refused.values()))


def test_a_channel_that_hangs_is_named_and_keeps_no_other_from_its_test_message(place: Place) -> None:
    with listener(say_nothing) as silent, http_receiver() as web:
        place.set(C4_ALERTS_SLACK_WEBHOOK=f"http://127.0.0.1:{silent}/hook/1", C4_ALERTS_WEBHOOK=f"{web.url}/hook/2")
        found = {each.id: each for each in findings(look_around(patience=5, send_test=True))}
        assert len(web.received) == 1
    assert found["channels.webhook"].verdict is PASSED
    assert found["channels.slack"].verdict is FAILED
    assert "no answer" in found["channels.slack"].what


def test_a_mail_server_without_recipients_is_no_channel_for_operators(place: Place) -> None:
    place.set(C4_ALERTS_EMAIL__HOST="127.0.0.1", C4_ALERTS_EMAIL__PORT="9", C4_ALERTS_EMAIL__SENDER="c4@facility.org")
    seen = [each for each in findings(look_around(patience=PATIENCE_S, send_test=True)) if "channels" in each.id]
    assert [(each.id, each.verdict) for each in seen] == [("channels", WARNED)]
    assert "alerts.email.recipients" in seen[0].fix
