"""Names what of the notebooks, figures/ and README's table no longer follows from the code and the data.

`make check-stale` and `make test` call it; `make publish` renews what it names. Exit code 1 if there is any.
"""

import json
import sys

import publish

from helpers import parameters, paths, records


def stale() -> list[str]:
    """A line for each thing that is stale: what it is, and why."""
    runs, several, found = parameters.default_runs(), publish.committee_runs(), []
    published = {"committee": {}, **json.loads(publish.RECORD.read_text())}

    def since(origin: dict[str, str], run: parameters.Run) -> str | None:
        """What has changed since a thing was made of a run."""
        try:
            key = run.key
        except FileNotFoundError as error:  # a committee, a model or data that are not there
            return str(error)
        if origin.get("key") != key:
            return "parameters, inputs or helpers have changed"
        if origin.get("drawing") != records.drawing(run.step):
            return "the notebook's words or helpers.figures have changed"
        return None

    for step, run in runs.items():
        notebook, origin = paths.NOTEBOOKS / f"{step}.ipynb", published["notebooks"].get(step, {})
        why = since(origin, run)
        if why is None and origin["sha256"] != records.sha256(notebook):
            why = "it is not the file that was published: its outputs were edited or lost"
        if why:
            found.append(f"notebooks/{notebook.name}: {why}")
    names = set()
    for run, _, name in publish.pictures():
        names.add(name)
        sidecar = paths.FIGURES / f"{name}.json"
        if not sidecar.is_file():
            found.append(f"figures/{name}: not published")
            continue
        origin = json.loads(sidecar.read_text())
        why = since(origin, run)
        if why is None and any(
            not (paths.FIGURES / file).is_file() or records.sha256(paths.FIGURES / file) != checksum
            for file, checksum in origin["sha256"].items()
        ):
            why = "it is not the file that was published"
        if why:
            found.append(f"figures/{name}: {why}")
    known = {f"{name}{suffix}" for name in names for suffix in (".json", ".png", ".pdf")}
    found += [
        f"figures/{path.name}: no notebook makes it"
        for path in sorted(paths.FIGURES.iterdir())
        if path.name not in known | {publish.RECORD.name}
    ]
    numbers, shown = published["numbers"], []
    errors = {
        (label, step)
        for label, step, _, form in publish.NUMBERS
        if step in several and publish.with_error(form)
    }
    for line in publish.in_readme().splitlines()[2:]:
        label, value, step = (text.strip() for text in line.strip("|").split("|"))
        shown.append(label)
        if numbers.get(label) != [value, step]:
            found.append(
                f"README.md, {label}: {value}, but the run gave {numbers.get(label, ['nothing'])[0]}"
            )
        elif why := since(published["notebooks"][step], runs[step]):
            found.append(f"README.md, {label}: {why}")
        elif (label, step) in errors and (why := since(published["committee"].get(step, {}), several[step])):
            found.append(f"README.md, {label}, its error: {why}")
    asked = [label for label, *_ in publish.NUMBERS]
    found += [f"README.md, {label}: not published" for label in asked if label not in shown]
    found += [f"README.md, {label}: no longer asked for" for label in shown if label not in asked]
    return found


if __name__ == "__main__":
    names = stale()
    print("\n".join([*names, "`make publish` renews them"]) if names else "nothing is stale")
    sys.exit(bool(names))
