"""Verdicts: each criterion of data/claims.json on cases that are built to fail it."""

import json

import pytest

from helpers import ledger, parameters, paths, records
from helpers.ledger import Condition

CLAIMS = ledger.read(paths.DATA / "claims.json")
JUDGED = [pytest.param(claim, id=claim.statement[:40]) for claim in CLAIMS]


def beyond(condition: Condition, met: bool) -> float:
    """A number on the side of the condition's value that meets it or that fails it."""
    step = 0.5 if condition.relation == "=" else 0.01 * abs(condition.value) or 0.01
    sign = {"<": -1, ">": 1, "=": 0}[condition.relation]
    return condition.value + (sign * step if met else -sign * step or step)


def results_for(numbers: dict[str, float]) -> dict:
    """Results of steps with a number at each place."""
    results: dict = {}
    for place, number in numbers.items():
        *path, last = place.split("/")
        inner = results
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = number
    return results


@pytest.mark.parametrize("claim", JUDGED)
def test_a_claim_fails_with_each_of_its_conditions(claim):
    places = {condition.place for condition in (*claim.holds_if, *claim.limited_if)}
    # A number that serves both (below 1, or at least below 5) is set by the stricter one.
    met = {condition.place: beyond(condition, True) for condition in (*claim.limited_if, *claim.holds_if)}
    assert met.keys() == places
    assert claim.verdict(results_for(met)) == "holds"
    for condition in claim.holds_if:
        failed = results_for(met | {condition.place: beyond(condition, False)})
        others = [each for each in claim.limited_if if not each.met(failed)]
        limited = claim.limited_if and not others
        assert claim.verdict(failed) == ("holds with a limit" if limited else "does not hold")
    for condition in claim.limited_if:
        worst = {each.place: beyond(each, False) for each in claim.holds_if}
        saved = {each.place: beyond(each, True) for each in claim.limited_if}
        assert claim.verdict(results_for(met | worst | saved)) == "holds with a limit"
        lost = saved | {condition.place: beyond(condition, False)}
        assert claim.verdict(results_for(met | worst | lost)) == "does not hold"


@pytest.mark.parametrize("claim", JUDGED)
def test_what_has_no_number_does_not_hold_and_what_was_not_run_is_not_judged(claim):
    met = {condition.place: beyond(condition, True) for condition in (*claim.limited_if, *claim.holds_if)}
    assert claim.verdict(results_for(met | dict.fromkeys(met))) == "does not hold"
    assert all(
        "no number" in line or "not as wanted" in line
        for line in claim.numbers(results_for(dict.fromkeys(met)))
    )
    assert claim.verdict({}) == "not judged"


def test_a_misspelt_place_is_not_passed_over():
    claim = ledger.Claim(
        section="1", statement="x",
        holds_if=[{"quantity": "q", "place": "04_pristine/brnches", "relation": "=", "value": 9}],
    )  # fmt: skip
    with pytest.raises(KeyError, match="brnches"):
        claim.verdict({"04_pristine": {"branches": 9}})


def test_entries_of_lists_are_counted_from_both_ends():
    condition = Condition(quantity="q", place="s/cells/-1/x", relation="<", value=1)
    assert condition.measured({"s": {"cells": [{"x": 5}, {"x": 0.5}]}}) == 0.5
    assert condition.shown({"s": {"cells": [{"x": 0.5}]}}) == "q: 0.50 (< 1.00)"


def test_a_damaged_list_of_claims_is_refused_with_its_place(tmp_path):
    path = tmp_path / "claims.json"
    path.write_text("[{")
    with pytest.raises(ValueError, match="claims.json is not a JSON list of claims"):
        ledger.read(path)
    entry = {
        "section": "1",
        "statement": "x",
        "holds_if": [{"quantity": "q", "place": "p", "relation": "~", "value": 1}],
    }
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="claims.json, claim 1: .* at holds_if/0/relation, not '~'"):
        ledger.read(path)
    entry["holds_if"] = []
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="at holds_if"):
        ledger.read(path)


def test_a_result_that_is_not_there_is_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("WSE2_RESULTS", str(tmp_path))  # for the notebook's kernel
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    run = parameters.Data()
    assert records.load(run) is None
    first = records.obtain(run)
    assert first and first == records.load(run)
    written = (run.folder / "result.json").stat().st_mtime_ns
    assert records.obtain(run) == first
    assert (run.folder / "result.json").stat().st_mtime_ns == written


def test_entries_say_what_was_measured_where_it_was_judged():
    claim, other = CLAIMS[0], next(each for each in CLAIMS if each.steps != CLAIMS[0].steps)
    met = {condition.place: beyond(condition, True) for condition in (*claim.limited_if, *claim.holds_if)}
    judged, unknown = entries = ledger.judge([claim, other], results_for(met))
    assert judged == {
        "section": claim.section, "statement": claim.statement,
        "verdict": "holds", "numbers": claim.numbers(results_for(met)),
    }  # fmt: skip
    assert (unknown["verdict"], unknown["numbers"]) == ("not judged", [])
    assert list(ledger.counts(entries).values()) == [1, 0, 0, 1]
