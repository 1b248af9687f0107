// What is below the first screen: it is loaded, and drawn, after the answer.

import { openAnswer, token } from "./api.js";
import { startChart } from "./chart.js";
import { startDays } from "./days.js";
import { byId, el, show, text } from "./dom.js";
import { startEvents } from "./events.js";
import { renderHealth } from "./health.js";
import { startRuns } from "./runs.js";

/** The section in which the failure of a document is named. */
const PLACES = {
  history: "chart",
  days: "days",
  runs: "runs",
  quota: "windows",
  "may-start": "verdict",
  capacity: "windows",
};

export function start(page) {
  const views = [startChart(page), startDays(page), startRuns(page)];
  const events = startEvents(page);
  for (const link of byId("answers").querySelectorAll("a")) link.addEventListener("click", followed);
  return {
    render(state, now) {
      // All at once, so that nothing moves.
      if (
        !show(byId("rest"), state.accounts !== null && document.documentElement.dataset.connection !== "unauthorized")
      )
        return;
      for (const view of views) view.render(state, now);
      events.render(state, now);
      renderHealth(state, now);
    },
    tickHidden: events.tickHidden,
    failed,
  };
}

/** A link cannot carry the token, so the answer is asked for here. */
function followed(event) {
  if (!token.get()) return;
  event.preventDefault();
  const path = event.currentTarget.getAttribute("href");
  openAnswer(path).then(
    () => text(byId("answer-failed"), ""),
    (error) => {
      const problem = error.status ? error.message : "the collector does not answer";
      text(byId("answer-failed"), ` · ${path}: ${problem}`);
    },
  );
}

function failed(name, error) {
  const place = byId(PLACES[name] ?? "footer");
  const known = place.querySelector(`:scope > .failed[data-of="${name}"]`);
  if (!error) return known?.remove();
  const line = known ?? place.appendChild(el("p", { class: "failed", "data-of": name }));
  text(line, `Not current: ${error.status ? error.message : "the collector does not answer"}. It is asked again.`);
}
