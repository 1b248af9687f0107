// Shows the answer to: may another run start?
const verdict = document.getElementById("verdict");

async function show() {
  const answer = await fetch("/v1/may-start");
  const body = await answer.json();
  verdict.textContent = answer.ok ? `${body.decision}: ${body.sentence}` : body.detail;
}

show().catch((error) => {
  verdict.textContent = `the collector does not answer: ${error.message}`;
});
