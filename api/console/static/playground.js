"use strict";
// Asks up to three models at once and shows their text as it comes. What a model says only ever becomes text of a node.
const form = document.getElementById("ask");
const stop = document.getElementById("stop");
const running = new Set();
let language = "curl";

function number(name) {
  const text = form.elements[name].value.trim();
  return text === "" ? undefined : Number(text);
}

function asked(model) {
  const messages = [{ role: "user", content: form.elements.user.value }];
  if (form.elements.system.value.trim()) messages.unshift({ role: "system", content: form.elements.system.value });
  const options = { max_tokens: number("max_tokens"), temperature: number("temperature") };
  options.reasoning_effort = form.elements.reasoning_effort.value || undefined;
  return { model, messages, options: { ...options, stream: true, stats: true } };
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    text += piece.value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const lines of whole.map((one) => one.split("\n"))) {
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event")) yield { kind: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

async function ask(column) {
  const out = column.querySelector(".out");
  const told = column.querySelector(".figures-line");
  const began = performance.now();
  const since = () => `${((performance.now() - began) / 1000).toFixed(2)} s`;
  const run = { abort: new AbortController(), id: null };
  let first = null;
  running.add(run);
  out.textContent = "";
  told.textContent = "asked";
  try {
    const reply = await fetch("/console/api/chat", {
      method: "POST", signal: run.abort.signal, body: JSON.stringify(asked(column.querySelector(".model").value)),
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", "x-csrf-token": form.dataset.csrf },
    });
    run.id = reply.headers.get("x-request-id");
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    for await (const { kind, data } of events(reply.body)) {
      if (kind === "chunk") {
        first ??= since();
        out.append(data.text);
        told.textContent = `first token after ${first}`;
      } else if (kind === "done") {
        told.textContent = `$${exact(data.price)} · ${data.tokens_input} in, ${data.tokens_output} out · first token after ${first ?? "–"} · ${since()}`;
      } else if (kind === "error") throw new Error((data.error ?? data).message);
    }
  } catch (error) {
    told.textContent = error.name === "AbortError" ? `stopped after ${since()}` : error.message;
  } finally {
    running.delete(run);
    stop.disabled = running.size === 0;
  }
}

function exact(usd) {
  return usd.toFixed(9).replace(/\.?0+$/, "");
}

function cancel(id) {
  const body = new URLSearchParams({ csrf: form.dataset.csrf });
  return fetch(`/console/requests/${id}/cancel`, { method: "POST", body, redirect: "manual" });
}

function code(kind) {
  const { model, messages, options } = asked(document.getElementById("model0").value);
  const { stream, stats, ...given } = options;
  const base = form.dataset.base;
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  if (kind === "curl") {
    const quoted = JSON.stringify({ model, messages, options }).replaceAll("'", "'\\''");
    return `curl -N ${base}/api/endpoint -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
  }
  const fields = [`model=${JSON.stringify(model)}`];
  if (kind === "openai") {
    fields.push(`messages=${JSON.stringify(messages)}`, ...set.map(([name, value]) => `${name}=${JSON.stringify(value)}`));
    return `import openai\n\nclient = openai.OpenAI(base_url="${base}/v1", api_key=key)\nprint(client.chat.completions.create(\n    ${fields.join(",\n    ")},\n))`;
  }
  const system = messages.find((one) => one.role === "system");
  fields.push(`max_tokens=${given.max_tokens ?? 4096}`, `messages=${JSON.stringify(messages.filter((one) => one !== system))}`);
  if (system) fields.push(`system=${JSON.stringify(system.content)}`);
  if (given.temperature !== undefined) fields.push(`temperature=${given.temperature}`);
  return `import anthropic\n\nclient = anthropic.Anthropic(base_url="${base}", api_key=key)\nprint(client.messages.create(\n    ${fields.join(",\n    ")},\n))`;
}

function showChosen() {
  for (const column of document.querySelectorAll(".column")) {
    column.querySelector(".facts-line").textContent = column.querySelector(".model").selectedOptions[0].dataset.told ?? "";
  }
  document.getElementById("code").textContent = code(language);
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running.size) return;
    stop.disabled = false;
    for (const column of document.querySelectorAll(".column")) if (column.querySelector(".model").value) ask(column);
  });
  stop.addEventListener("click", () => {
    for (const run of running) {
      if (run.id) cancel(run.id);
      run.abort.abort();
    }
  });
  for (const button of document.querySelectorAll("[data-code]")) {
    button.addEventListener("click", () => {
      language = button.dataset.code;
      for (const one of document.querySelectorAll("[data-code]")) one.setAttribute("aria-pressed", String(one === button));
      showChosen();
    });
  }
  document.addEventListener("input", showChosen);
  showChosen();
}
