"""What is held in memory is bounded; what is shown is escaped."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from evaluator_builders import capture
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.bodies import Bodies
from pointsman.evaluator.evidence import Evidence
from pointsman.evaluator.metrics import Totals
from pointsman.evaluator.texts import Texts, case_of
from pointsman.evaluator.totals import Name, Series


class Now:
    """A clock for ages."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.s


def test_bodies_are_bounded_in_bytes() -> None:
    """The oldest go first; a body that is held stays as it came first."""
    bodies = Bodies(most_bytes=10)
    for number in range(3):
        bodies.put("p", str(number), b"four")
    bodies.put("p", "2", b"other")
    assert [bodies.get("p", str(number)) for number in range(3)] == [None, b"four", b"four"]
    assert bodies.bytes == 8


def test_bodies_are_bounded_in_age() -> None:
    """After two minutes nothing of a request is held."""
    now = Now()
    bodies = Bodies(monotonic=now)
    bodies.put("p", "1", b"x")
    now.s = 120.0
    assert bodies.get("p", "1") == b"x"
    now.s = 120.1
    assert bodies.get("p", "1") is None
    assert bodies.bytes == 0


def test_texts_are_bounded_in_age() -> None:
    """Half a text whose entry never comes does not stay."""
    now = Now()
    texts = Texts(monotonic=now)
    texts.put(capture(1))
    now.s = 61.0
    texts.put(capture(2))
    assert texts.get("chat/support", "request-1") is None
    assert texts.get("chat/support", "request-2") is not None


def test_a_case_is_what_is_stored_and_no_more() -> None:
    """The question is read from the redacted body; the reference's key is that of the body as it came."""
    body = '{"model":"auto","messages":[{"role":"user","content":"Write to [email]"}]}'
    texts = Texts()
    texts.put(capture(1, kept=Kept("json", body, truncated=False), turn_sha256="key"))
    text = texts.put(capture(1, "response", kept=Kept("text", "Done.", truncated=True)))
    case = case_of(text, "law")
    assert case is not None
    assert (case.question, case.answer, case.turn_sha256) == ("Write to [email]", "Done.", "key")
    assert (case.intent, case.truncated, case.body) == ("law", True, body.encode())


def test_labels_are_escaped_and_values_keep_their_sign() -> None:
    """An intent is whatever a classifier says; a gate's sums may be below zero."""
    odd = 'a"b\\c\nd'
    shadow = Series(Evidence.PAIRS, ("chat", "support", "r", "shadow", odd, "polite", "v", "both"))
    moment = Series(Evidence.GATE_MOMENTS, ("chat", "support", "r", "polite", "v", "d"))
    totals = Totals({shadow: 3, moment: -2, Series(Name.ENTRIES, ()): 0})
    samples = {
        (sample.name, sample.labels.get("intent", "")): sample.value
        for family in text_string_to_metric_families(totals.render().decode())
        for sample in family.samples
    }
    assert samples["pointsman_rubric_pairs_total", odd] == 3
    assert samples["pointsman_gate_moments", ""] == -2
    assert samples["pointsman_access_log_entries_total", ""] == 0
    totals.drop([shadow])
    assert b"rubric_pairs_total{" not in totals.render()
