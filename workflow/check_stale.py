"""Names what of the notebooks, figures/ and the tables of numbers no longer follows from the code and the data.

`make check-stale` and `make test` call it; `make publish` renews what it names. Exit code 1 if there is any.
"""

import json
import sys

import publish

from helpers import parameters, paths


def stale() -> list[str]:
    """A line for each thing that is stale: what it is, and why."""
    runs, several = parameters.default_runs(), publish.committee_runs()
    published = json.loads(publish.RECORD.read_text())
    found = [
        f"notebooks/{step}.ipynb: {why}"
        for step, run in runs.items()
        if (why := publish.stale_notebook(published["notebooks"].get(step, {}), run))
    ]
    names = set()
    for run, picture, name in publish.pictures():
        names.add(name)
        if why := publish.stale_figure(run, picture, name):
            found.append(f"figures/{name}: {why}")
    known = {f"{name}{suffix}" for name in names for suffix in (".json", ".png", ".pdf")}
    found += [
        f"figures/{path.name}: no notebook makes it"
        for path in sorted(paths.FIGURES.iterdir())
        if path.name not in known | {publish.RECORD.name}
    ]
    numbers = published["numbers"]
    errors = {
        (label, step)
        for label, step, _, form in publish.NUMBERS
        if step in several and publish.with_error(form)
    }
    for page, asked in publish.PAGES.items():
        shown = []
        for line in publish.in_page(page).splitlines()[2:]:
            label, value, step = (text.strip() for text in line.strip("|").split("|"))
            shown.append(label)
            if numbers.get(label) != [value, step]:
                found.append(
                    f"{page}, {label}: {value}, but the run gave {numbers.get(label, ['nothing'])[0]}"
                )
            elif why := publish.since(published["notebooks"][step], runs[step]):
                found.append(f"{page}, {label}: {why}")
            elif (label, step) in errors and (
                why := publish.since(published["committee"].get(step, {}), several[step], "committee")
            ):
                found.append(f"{page}, {label}, its error: {why}")
        found += [f"{page}, {label}: not published" for label in asked if label not in shown]
        found += [f"{page}, {label}: no longer asked for" for label in shown if label not in asked]
    return found


if __name__ == "__main__":
    names = stale()
    print("\n".join([*names, "`make publish` renews them"]) if names else "nothing is stale")
    sys.exit(bool(names))
