"""Claims, the criteria that would make them hold, and the verdicts on them."""

import json
import operator
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

RELATIONS = {"<": operator.lt, ">": operator.gt, "=": operator.eq}
Verdict = Literal["holds", "holds with restrictions", "not distinguishable", "fails", "not judged"]
WHETHER_MET = {True: "as wanted", False: "not as wanted", None: "within its error of what is wanted"}


def entry(place: str, results: dict[str, Any]) -> Any:
    """Return what stands at STEP/KEY/KEY... in `results` ({step: results}); None without that step.

    Raises KeyError when the step has no such entry.
    """
    step, *keys = place.split("/")
    value = results.get(step)
    for key in keys if value is not None else []:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


class Condition(BaseModel):
    """A measured quantity must be less than, more than, or equal to a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    quantity: str
    place: str  # STEP/KEY/KEY... in the results; a number counts entries of a list, -1 the last
    relation: Literal["<", ">", "="]
    value: float
    unit: str = ""
    form: str = "{:.2f}"
    error: str = ""  # place of the standard deviation of the quantity; "" without one
    varies: bool = False  # from run to run, like a time: only whether it is met is shown

    @model_validator(mode="after")
    def formats(self) -> Self:
        self.form.format(self.value)  # raises ValueError at once, and not at the end of a run
        return self

    def measured(self, results: dict[str, Any]) -> float | None:
        """Return the number in `results` ({step: results}); None without that step, or if it determined none.

        Raises KeyError when the step has no such entry.
        """
        return entry(self.place, results)

    def deviation(self, results: dict[str, Any]) -> float | None:
        """Return the standard deviation of the number; None where the run determined none at all.

        Raises KeyError when the run determined some, and this is not among them.
        """
        step, *keys = self.error.split("/")
        determined = keys and (results.get(step) or {}).get(keys[0]) is not None
        return entry(self.error, results) if determined else None

    def met(self, results: dict[str, Any]) -> bool | None:
        """Return whether it is met; None if the number lies within its error of the value. No number does not meet it."""
        measured, error = self.measured(results), self.deviation(results)
        if measured is None:
            return False
        if error is not None and abs(measured - self.value) < error:
            return None
        return RELATIONS[self.relation](measured, self.value)

    def shown(self, results: dict[str, Any]) -> str:
        """Return what was measured, with its error where there is one, and what was wanted."""
        measured, error = self.measured(results), self.deviation(results)
        if self.varies:
            number = WHETHER_MET[self.met(results)]
        elif measured is None:
            number = "no number"
        else:
            around = "" if error is None else f" ± {self.form.format(error)}"
            number = f"{self.form.format(measured)}{around} {self.unit}".strip()
        wanted = f"{self.form.format(self.value)} {self.unit}".strip()
        return f"{self.quantity}: {number} ({self.relation} {wanted})"


class Claim(BaseModel):
    """A statement, what it means in numbers, and what it would still hold under restrictions."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: str
    statement: str
    holds_if: list[Condition] = Field(min_length=1)
    limited_if: list[Condition] = []

    @property
    def steps(self) -> set[str]:
        """Return the notebooks whose results it takes to judge it."""
        return {condition.place.split("/")[0] for condition in (*self.holds_if, *self.limited_if)}

    def verdict(self, results: dict[str, Any]) -> Verdict:
        """Return 'holds' if all conditions are met, 'holds with restrictions' if at least those of `limited_if` are.

        'not distinguishable' from what holds, or from what fails, if none of these conditions fails and one, within its
        error, is undecided. 'not judged' where a step that is needed has no results.
        """
        if not self.steps <= results.keys():
            return "not judged"
        held, limited = (
            [condition.met(results) for condition in conditions]
            for conditions in (self.holds_if, self.limited_if)
        )
        if all(held):
            return "holds"
        if limited and all(limited):
            return "holds with restrictions"
        possible = any(met and False not in met for met in (held, limited))
        return "not distinguishable" if possible else "fails"

    def numbers(self, results: dict[str, Any]) -> list[str]:
        """Return what was measured for each criterion, and what is wanted."""
        return [
            *(f"criterion: {condition.shown(results)}" for condition in self.holds_if),
            *(f"weaker criterion: {condition.shown(results)}" for condition in self.limited_if),
        ]


def read(path: Path) -> list[Claim]:
    """Return the claims in a JSON file; ValueError that names the claim and the entry if one is not well formed."""
    claims = []
    try:
        for entry in json.loads(path.read_text()):
            claims.append(Claim(**entry))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path.name} is not a JSON list of claims: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(map(str, first["loc"]))
        raise ValueError(
            f"{path.name}, claim {len(claims) + 1}: {first['msg']} at {place}, not {first['input']!r}"
        ) from error
    return claims


def judge(claims: list[Claim], results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return of each claim section, statement, verdict and, where it is judged, what was measured."""
    entries = []
    for claim in claims:
        verdict = claim.verdict(results)
        numbers = claim.numbers(results) if verdict != "not judged" else []
        entries.append(
            {"section": claim.section, "statement": claim.statement, "verdict": verdict, "numbers": numbers}
        )
    return entries


def rows(entries: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of a table of entries from `judge`, one for each number; one without where none was judged."""
    return [
        {"section": entry["section"], "statement": entry["statement"], "verdict": entry["verdict"],
         "measured (wanted)": number}
        for entry in entries
        for number in entry["numbers"] or [""]
    ]  # fmt: skip


def together(*ledgers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of several ledgers of the same claims, of each claim the one that is judged."""
    judged: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in (entry for entries in ledgers for entry in entries):
        claim = entry["section"], entry["statement"]
        if claim not in judged or entry["verdict"] != "not judged":
            judged[claim] = entry
    return list(judged.values())


def counts(entries: list[dict[str, Any]]) -> dict[Verdict, int]:
    """Return how many of the entries from `judge` have each verdict."""
    verdicts = [entry["verdict"] for entry in entries]
    return {verdict: verdicts.count(verdict) for verdict in get_args(Verdict)}
