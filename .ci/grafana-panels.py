"""The dashboard, judged: its form, and that a Prometheus answers every question of its panels.

usage: grafana-panels.py form BOARD TABLE RULES    checks the form; writes the questions as rules, for promtool
       grafana-panels.py ask BOARD URL LOG         asks Prometheus, while responses are appended to LOG

TABLE is the page with the table of metrics. No question may be made to answer where nothing is known.
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone

ANSWERS_WITHIN_S = 60
ASKED_EVERY_S = 0.5
ROWS = ["Verdict", "Windows", "Tokens", "Leases", "Collector"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
METRIC = re.compile(r"\b(?:tokentail|process)_[a-z0-9_]+")
# As Grafana fills them in for an hour that is scraped each second, with everything selected.
VALUES = {"instance": ".*", "provider": ".*", "account": ".*", "__rate_interval": "5s", "__range": "1h"}


def panels(board: dict) -> list[dict]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def questions(board: dict) -> list[tuple[str, str]]:
    """Each question of a panel or annotation with its place, variables filled in."""
    places = [(f"{panel['title']} {target['refId']}", target["expr"]) for panel in panels(board) for target in panel["targets"]]
    places += [(f"annotation {one['name']}", one["expr"]) for one in board["annotations"]["list"]]
    return [(place, re.sub(r"\$(\w+)", lambda name: VALUES[name[1]], expr)) for place, expr in places]


def form(board: dict, table: str, rules_path: str) -> None:
    wrong = []

    def demand(holds: bool, place: str, what: str) -> None:
        if not holds:
            wrong.append(f"{place}: {what}")

    demand(board["uid"] == "tokentail" and board["id"] is None and board["schemaVersion"] >= 39, "board", "uid, id, schemaVersion")
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    demand(rows == ROWS, "board", f"rows {rows}")
    for key in ("id", "title"):
        values = [panel[key] for panel in board["panels"]]
        twice = {value for value in values if values.count(value) > 1}
        demand(not twice, "board", f"{key} used twice: {twice}")
    taken = {}
    for panel in board["panels"]:
        grid = panel["gridPos"]
        demand(grid["x"] + grid["w"] <= 24, panel["title"], "is wider than the board")
        for cell in ((x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])):
            demand(taken.setdefault(cell, panel["title"]) == panel["title"], panel["title"], f"lies on {taken[cell]}")
    for panel in panels(board):
        place, defaults = panel["title"], panel["fieldConfig"]["defaults"]
        demand(bool(panel.get("description")), place, "has no description")
        for key in ("unit", "noValue"):
            demand(bool(defaults.get(key)), place, f"has no {key}")
        demand(bool(panel["targets"]), place, "asks nothing")
        for source in [panel, *panel["targets"]]:
            demand(source["datasource"] == SOURCE, place, "has another data source")
        if panel["type"] in ("timeseries", "state-timeline"):
            demand(defaults["custom"]["spanNulls"] is False, place, "closes gaps")
        else:
            demand(all(target.get("instant") for target in panel["targets"]), place, "shows the last value of a range, which may be over")
    for one in board["templating"]["list"]:
        demand(one["type"] != "query" or one["datasource"] == SOURCE, one["name"], "has another data source")
    known = set(re.findall(r"^\| `((?:tokentail|process)_\w+)", table, re.MULTILINE))
    demand(len(known) > 40, "table", "is not found")
    asked = questions(board)
    definitions = [(one["name"], one["definition"]) for one in board["templating"]["list"] if "definition" in one]
    for place, expr in asked + definitions:
        demand("vector(" not in expr, place, "answers where nothing is known")
        for name in METRIC.findall(expr):
            demand(name in known, place, f"asks for {name}, which the table of metrics does not have")
    if wrong:
        sys.exit("\n".join(wrong))
    rules = [{"record": f"question:{number}", "expr": expr} for number, (_, expr) in enumerate(asked)]
    with open(rules_path, "w", encoding="utf-8") as file:
        # JSON is YAML.
        json.dump({"groups": [{"name": "questions", "rules": rules}]}, file)
    print(f"{len(panels(board))} panels with {len(asked)} questions")


def answer(url: str, expr: str) -> list:
    query = urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as got:
            return json.load(got)["data"]["result"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{expr}: {error.read().decode()}")


def response(number: int, model: str) -> str:
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    usage = {"input_tokens": 4, "output_tokens": 900, "cache_read_input_tokens": 30000, "cache_creation_input_tokens": 1500}
    message = {"id": f"msg_live{number:06}{model[-6:]}", "type": "message", "role": "assistant", "model": model, "usage": usage}
    return json.dumps({"type": "assistant", "uuid": f"live-{number}-{model}", "sessionId": "s-live", "timestamp": at, "message": message}) + "\n"


def ask(board: dict, url: str, log: str) -> None:
    asked = questions(board)
    for one in board["templating"]["list"]:
        if "definition" in one:
            metric = re.fullmatch(r"label_values\((.+), \w+\)", one["definition"])[1]
            asked.append((f"variable {one['name']}", re.sub(r"\$(\w+)", lambda name: VALUES[name[1]], metric)))
    # A comparison that cannot fail would prove nothing.
    assert answer(url, "tokentail_no_such_metric") == []
    open_ones, number, end = asked, 0, time.monotonic() + ANSWERS_WITHIN_S
    while open_ones and time.monotonic() < end:
        number += 1
        with open(log, "a", encoding="utf-8") as file:
            file.write(response(number, "claude-opus-5") + response(number, "model-without-a-price"))
        time.sleep(ASKED_EVERY_S)
        open_ones = [one for one in open_ones if not answer(url, one[1])]
    if open_ones:
        sys.exit("\n".join(f"no answer: {place}: {expr}" for place, expr in open_ones))
    print(f"a Prometheus that scrapes the collector answers all {len(asked)} questions")


with open(sys.argv[2], encoding="utf-8") as file:
    board = json.load(file)
if sys.argv[1] == "form":
    with open(sys.argv[3], encoding="utf-8") as file:
        form(board, file.read(), sys.argv[4])
else:
    ask(board, sys.argv[3], sys.argv[4])
