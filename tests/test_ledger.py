"""Verdicts: each criterion of data/claims.json on cases that are built to fail it."""

import json

import pytest

from helpers import execution, ledger, parameters, paths, records
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
        others = [each for each in claim.limited_if if each.met(failed) is False]
        limited = claim.limited_if and not others
        assert claim.verdict(failed) == ("holds with restrictions" if limited else "fails")
    for condition in claim.limited_if:
        worst = {each.place: beyond(each, False) for each in claim.holds_if}
        saved = {each.place: beyond(each, True) for each in claim.limited_if}
        assert claim.verdict(results_for(met | worst | saved)) == "holds with restrictions"
        lost = saved | {condition.place: beyond(condition, False)}
        assert claim.verdict(results_for(met | worst | lost)) == "fails"


@pytest.mark.parametrize("claim", JUDGED)
def test_what_has_no_number_does_not_hold_and_what_was_not_run_is_not_judged(claim):
    met = {condition.place: beyond(condition, True) for condition in (*claim.limited_if, *claim.holds_if)}
    assert claim.verdict(results_for(met | dict.fromkeys(met))) == "fails"
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


def test_acoustic_branches_are_judged_by_what_may_fail():
    """Three atoms have nine branches whatever the model; whether three of them start at zero is another matter."""
    claim = next(each for each in CLAIMS if each.statement == "Nine branches, three of them acoustic")
    for frequencies, verdict in (
        ([0.0, 0.0, 0.001, 5.0], "holds"),
        ([0.0, 0.0, 0.3, 5.0], "fails"),
        ([0.0, 0.0, 0.001, 0.2], "fails"),
    ):
        assert claim.verdict({"04_pristine": {"lowest_at_gamma_THz": frequencies}}) == verdict


def test_entries_of_lists_are_counted_from_both_ends():
    condition = Condition(quantity="q", place="s/cells/-1/x", relation="<", value=1)
    assert condition.measured({"s": {"cells": [{"x": 5}, {"x": 0.5}]}}) == 0.5
    assert condition.shown({"s": {"cells": [{"x": 0.5}]}}) == "q: 0.50 (< 1.00)"


TIGHT, LOOSE = (
    {"quantity": "q", "place": "s/x", "error": "s/spread/x", "relation": "<", "value": v} for v in (1, 5)
)
FREE = {"quantity": "p", "place": "s/y", "relation": ">", "value": 0}


@pytest.mark.parametrize(
    ("x", "y", "error", "verdict"),
    [
        (0.8, 1, 0.1, "holds"),
        (0.8, 1, 0.3, "holds with restrictions"),  # which is certain
        (1.2, 1, 0.3, "holds with restrictions"),
        (1.2, -1, 0.3, "fails"),  # another condition fails clearly, and so does the limit
        (1.2, 1, 0.1, "holds with restrictions"),
        (4.9, 1, 0.2, "not distinguishable"),
        (5.1, 1, 0.2, "not distinguishable"),
        (5.3, 1, 0.2, "fails"),
        (0.9, 1, None, "holds"),
        (1.1, 1, None, "holds with restrictions"),
        (0.9, 1, 0.0, "holds"),
        (None, 1, 0.2, "fails"),
    ],
)
def test_what_lies_within_its_error_of_the_criterion_is_not_distinguishable(x, y, error, verdict):
    claim = ledger.Claim(section="1", statement="x", holds_if=[TIGHT, FREE], limited_if=[LOOSE, FREE])
    assert claim.verdict({"s": {"x": x, "y": y, "spread": {"x": error}}}) == verdict


def test_without_a_limit_what_fails_does_not_hold():
    claim = ledger.Claim(section="1", statement="x", holds_if=[TIGHT, FREE])
    given = {"x": 1.1, "spread": {"x": 0.2}}
    assert claim.verdict({"s": given | {"y": 1}}) == "not distinguishable"
    assert claim.verdict({"s": given | {"y": -1}}) == "fails"
    assert claim.verdict({"s": {"x": 1.1, "y": 1}}) == "fails"


@pytest.mark.parametrize("without", [{}, {"spread": None}, {"spread": {"x": None}}])
def test_an_error_that_was_not_determined_decides_nothing(without):
    condition = Condition(**TIGHT)
    assert condition.deviation({"s": without}) is None
    assert condition.met({"s": {"x": 0.99} | without}) is True
    assert condition.shown({"s": {"x": 0.99} | without}) == "q: 0.99 (< 1.00)"


def test_a_misspelt_error_is_not_passed_over():
    with pytest.raises(KeyError, match="x"):
        Condition(**TIGHT).met({"s": {"x": 0.99, "spread": {"xx": 0.1}}})


def test_the_error_is_shown():
    results = {"s": {"x": 0.97, "spread": {"x": 0.12}}}
    condition = Condition(**TIGHT | {"unit": "cm⁻¹"})
    assert condition.shown(results) == "q: 0.97 ± 0.12 cm⁻¹ (< 1.00 cm⁻¹)"
    assert (
        Condition(**TIGHT | {"varies": True}).shown(results)
        == "q: within its error of what is wanted (< 1.00)"
    )


# What 04 writes of the committee under `spread`.
ERRORS = {
    "04_pristine/spread/gap_width_THz",
    *(f"04_pristine/spread/{name}/{part}" for name in ("heavy_share", "dominated") for part in ("below", "above")),
}  # fmt: skip


@pytest.mark.parametrize("claim", JUDGED)
def test_errors_of_the_claims_are_those_of_the_same_quantity(claim):
    for condition in (*claim.holds_if, *claim.limited_if):
        if condition.error:
            step, spread, *name = condition.error.split("/")
            assert step == condition.place.split("/")[0]
            assert condition.error in ERRORS
            parts = [each for each in ("below", "above") if each in condition.place]
            assert all(part in condition.error for part in parts)
            assert parts or name[-1] == condition.place.split("/")[-1]


def test_every_error_of_the_committee_is_used():
    assert {each.error for claim in CLAIMS for each in (*claim.holds_if, *claim.limited_if)} == ERRORS | {""}


@pytest.mark.parametrize(
    "claim", [each for each in JUDGED if any(every.error for every in each.values[0].holds_if)]
)
def test_a_claim_that_holds_is_not_distinguishable_with_a_large_error(claim):
    met = {condition.place: beyond(condition, True) for condition in (*claim.limited_if, *claim.holds_if)}
    for condition in claim.holds_if:
        if condition.error:
            distance = abs(met[condition.place] - condition.value)
            none = {each.error: 0.0 for each in (*claim.holds_if, *claim.limited_if) if each.error}
            verdicts = [
                claim.verdict(results_for(met | none | {condition.error: factor * distance}))
                for factor in (0.5, 2)
            ]
            assert verdicts[0] == "holds"
            assert verdicts[1] in ("not distinguishable", "holds with restrictions")


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
    first = execution.obtain(run)
    assert first and first == records.load(run)
    written = (run.folder / "result.json").stat().st_mtime_ns
    assert execution.obtain(run) == first
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
    assert list(ledger.counts(entries).values()) == [1, 0, 0, 0, 1]
    rows = ledger.rows(entries)
    assert [row["measured (wanted)"] for row in rows] == [*judged["numbers"], ""]
    assert [row["verdict"] for row in rows] == [*["holds"] * len(judged["numbers"]), "not judged"]
    rows = ledger.rows(entries)
    assert [row["measured (wanted)"] for row in rows] == [*judged["numbers"], ""]
    assert [row["verdict"] for row in rows] == [*["holds"] * len(judged["numbers"]), "not judged"]


def test_of_two_ledgers_the_verdict_counts():
    first, second = (
        [{"section": "1", "statement": name, "verdict": verdict} for name, verdict in pairs]
        for pairs in (
            [("a", "holds"), ("b", "not judged"), ("c", "not judged")],
            [("b", "fails"), ("a", "not judged")],
        )
    )
    verdicts = [entry["verdict"] for entry in ledger.together(first, second)]
    assert verdicts == ["holds", "fails", "not judged"]
