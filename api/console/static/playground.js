"use strict";
// Up to three models answer the same messages beside each other. What a model says only ever becomes the text of a node.
const form = document.getElementById("ask");
const by = (id) => document.getElementById(id);
const EXAMPLE = [{ name: "get_weather", description: "The weather of a city now.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } }];
const IMAGES_BYTES_MAX = 10_000_000;
const running = new Set();
let images = [];
let language = "curl";

function say(text) {
  by("wrong").textContent = text;
  by("wrong").hidden = !text;
}

function node(name, classes, text = "") {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  return made;
}

function number(name) {
  const text = form.elements[name].value.trim();
  return text === "" ? undefined : Number(text);
}

function tools() {
  const text = form.elements.tools.value.trim();
  if (!text) return undefined;
  const given = [JSON.parse(text)].flat();
  return given.map((one) => (one.function ? one : { type: "function", function: one }));
}

function written() {
  const text = form.elements.user.value;
  if (!text.trim() && !images.length) return null;
  const parts = images.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return { role: form.elements.role.value, content: parts.length ? [{ type: "text", text }, ...parts] : text };
}

// One model with its own conversation, because each has its own answers.
class Column {
  constructor(section) {
    this.section = section;
    this.turns = section.querySelector(".turns");
    this.told = section.querySelector(".figures-line");
    this.messages = [];
  }

  get model() {
    return this.section.querySelector(".model").value;
  }

  body(next) {
    const instructions = form.elements.system.value.trim();
    const messages = [...(instructions ? [{ role: "system", content: instructions }] : []), ...this.messages, ...(next ? [next] : [])];
    return {
      model: this.model, messages: messages.length ? messages : [{ role: "user", content: "" }],
      max_tokens: number("max_tokens"), temperature: number("temperature"),
      reasoning_effort: form.elements.reasoning_effort.value || undefined, tools: tools(),
      include_reasoning: form.elements.thoughts.checked || undefined, stream: true, stream_options: { include_usage: true },
    };
  }

  show(label, text, classes = "") {
    const turn = node("article", `turn ${classes}`);
    turn.append(node("h3", "label", label), node("pre", "", text));
    this.turns.append(turn);
    return turn.lastChild;
  }

  add(message) {
    this.messages.push(message);
    const seen = typeof message.content === "string" ? message.content : message.content.map((part) => part.text ?? "[image]").join("\n");
    this.show(message.role === "tool" ? `result ${message.tool_call_id}` : message.role, seen);
  }

  clear() {
    this.messages = [];
    this.turns.replaceChildren();
    this.told.textContent = "";
  }

  // Take back the answer to the last message, so that it can be asked once more.
  takeBack() {
    const kept = this.messages.findLastIndex((one) => one.role !== "assistant");
    const messages = this.messages.slice(0, kept + 1);
    this.clear();
    for (const message of messages) this.again(message);
  }

  again(message) {
    if (message.content !== null) this.add(message);
    else this.messages.push(message);
    for (const call of message.tool_calls ?? []) this.show(`calls ${call.function.name}`, call.function.arguments, "call");
  }

  async ask() {
    const began = performance.now();
    const since = () => `${((performance.now() - began) / 1000).toFixed(2)} s`;
    const run = { abort: new AbortController(), id: null };
    const answer = { text: "", calls: [], shown: [], usage: null, price: null, first: null, out: null, thoughts: null };
    running.add(run);
    this.told.textContent = "asked";
    buttons();
    try {
      const reply = await fetch("/console/api/chat", {
        method: "POST", signal: run.abort.signal, body: JSON.stringify(this.body()),
        headers: { "Content-Type": "application/json", Accept: "text/event-stream", "x-csrf-token": form.dataset.csrf },
      });
      run.id = reply.headers.get("x-request-id");
      if (!reply.ok) throw new Error((await reply.json()).error.message);
      const ignored = reply.headers.get("x-ignored");
      for await (const { kind, data } of events(reply.body)) {
        if (data.error) throw new Error(data.error.message);
        if (kind === "price") answer.price = data;
        else this.take(answer, data, since);
      }
      if (!answer.usage) throw new Error("The answer broke off: ask again.");
      const { prompt_tokens, completion_tokens } = answer.usage;
      const thought = answer.price.tokens_reasoning ? ` (${answer.price.tokens_reasoning} of it thinking)` : "";
      this.told.textContent = `$${answer.price.usd} · ${prompt_tokens} in, ${completion_tokens} out${thought} · first token after ${answer.first ?? since()} · ${since()}${ignored ? ` · left out: ${ignored}` : ""}`;
      this.wantResults(answer.calls);
    } catch (error) {
      answer.calls = []; // they may not be whole
      this.told.textContent = error.name === "AbortError" ? `stopped after ${since()}` : error.message;
    } finally {
      const calls = answer.calls.length ? { tool_calls: answer.calls } : {};
      if (answer.text || answer.calls.length) this.messages.push({ role: "assistant", content: answer.text || null, ...calls });
      running.delete(run);
      buttons();
    }
  }

  take(answer, { choices = [], usage }, since) {
    answer.usage = usage ?? answer.usage;
    const delta = choices[0]?.delta ?? {};
    if (delta.reasoning_content) {
      answer.thoughts ??= this.show("thought", "", "soft");
      answer.thoughts.append(delta.reasoning_content);
    }
    if (delta.content) {
      answer.out ??= this.show("assistant", "", "answer");
      answer.text += delta.content;
      answer.out.append(delta.content);
    }
    for (const piece of delta.tool_calls ?? []) {
      const call = (answer.calls[piece.index] ??= { id: piece.id, type: "function", function: { name: "", arguments: "" } });
      call.function.name ||= piece.function?.name ?? "";
      if (piece.extra_content) call.extra_content = piece.extra_content;
      answer.shown[piece.index] ??= this.show(`calls ${call.function.name}`, "", "call");
      call.function.arguments += piece.function?.arguments ?? "";
      answer.shown[piece.index].textContent = call.function.arguments;
    }
    if (Object.keys(delta).some((name) => name !== "role" && delta[name])) {
      answer.first ??= since();
      this.told.textContent = `first token after ${answer.first}`;
      this.turns.scrollTop = this.turns.scrollHeight;
    }
  }

  wantResults(calls) {
    if (!calls.length) return;
    const results = node("form", "results");
    const given = calls.map((call) => {
      const label = node("label", "", `Result of ${call.function.name} `);
      label.append(node("input", ""));
      results.append(label);
      return () => ({ role: "tool", tool_call_id: call.id, content: label.lastChild.value });
    });
    results.append(node("button", "quiet", "Send the results"));
    results.addEventListener("submit", (event) => {
      event.preventDefault();
      if (running.size) return;
      results.remove();
      for (const one of given) this.add(one());
      this.ask();
    });
    this.turns.append(results);
  }
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
      const data = field("data");
      if (data && data !== "[DONE]") yield { kind: field("event"), data: JSON.parse(data) };
    }
  }
}

function cancel(id) {
  const body = new URLSearchParams({ csrf: form.dataset.csrf });
  return fetch(`/console/requests/${id}/cancel`, { method: "POST", body, redirect: "manual" });
}

const columns = [...document.querySelectorAll(".column")].map((section) => new Column(section));
const chosen = () => columns.filter((column) => column.model);

function buttons() {
  const begun = columns.some((column) => column.messages.length);
  by("stop").disabled = !running.size;
  by("retry").disabled = by("over").disabled = running.size > 0 || !begun;
  showChosen();
}

// Add what is written to every conversation; false where there is nothing to go on with.
function take() {
  try {
    tools();
  } catch (error) {
    say(`The tools are no JSON: ${error.message}.`);
    return false;
  }
  const message = written();
  const waiting = chosen().some((column) => column.messages.length && column.messages.at(-1).role !== "assistant");
  if (!message && !waiting) {
    say("Write a message first.");
    return false;
  }
  say("");
  if (message) for (const column of chosen()) column.add(message);
  form.elements.user.value = "";
  images = [];
  showImages();
  buttons();
  return true;
}

async function addImages(files) {
  for (const file of [...files].filter((one) => one.type.startsWith("image/"))) {
    if (file.size + images.reduce((sum, one) => sum + one.size, 0) > IMAGES_BYTES_MAX) return say("These images are too large: 10 MB together at most.");
    const url = await new Promise((done) => {
      const reader = new FileReader();
      reader.addEventListener("load", () => done(reader.result));
      reader.readAsDataURL(file);
    });
    images.push({ name: file.name, size: file.size, url });
  }
  showImages();
}

function showImages() {
  by("chosen").replaceChildren(...images.map((image) => {
    const chip = node("li", "", `${image.name} · ${Math.ceil(image.size / 1000)} KB `);
    const remove = Object.assign(node("button", "quiet", "Remove"), { type: "button" });
    remove.setAttribute("aria-label", `Remove ${image.name}`);
    remove.addEventListener("click", () => {
      images = images.filter((one) => one !== image);
      showImages();
    });
    chip.append(remove);
    return chip;
  }));
  showChosen();
}

function showChosen() {
  for (const { section } of columns) section.querySelector(".facts-line").textContent = section.querySelector(".model").selectedOptions[0].dataset.told ?? "";
  try {
    by("code").textContent = snippet(language, columns[0].body(written()), form.dataset.base);
  } catch (error) {
    by("code").textContent = `The tools are no JSON: ${error.message}.`;
  }
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running.size && take()) for (const column of chosen()) column.ask();
  });
  form.elements.user.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  by("stop").addEventListener("click", () => {
    for (const run of running) {
      if (run.id) cancel(run.id);
      run.abort.abort();
    }
  });
  by("retry").addEventListener("click", () => {
    for (const column of chosen().filter((one) => one.messages.length)) {
      column.takeBack();
      column.ask();
    }
  });
  by("add").addEventListener("click", take);
  by("over").addEventListener("click", () => {
    for (const column of columns) column.clear();
    buttons();
  });
  by("example").addEventListener("click", () => {
    form.elements.tools.value = JSON.stringify(EXAMPLE, null, 2);
    showChosen();
  });
  by("images").addEventListener("change", (event) => addImages(event.target.files).then(() => (event.target.value = "")));
  for (const kind of ["dragover", "drop"]) {
    form.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") addImages(event.dataTransfer.files);
    });
  }
  for (const button of document.querySelectorAll("[data-code]")) {
    button.addEventListener("click", () => {
      language = button.dataset.code;
      for (const one of document.querySelectorAll("[data-code]")) one.setAttribute("aria-pressed", String(one === button));
      showChosen();
    });
  }
  document.addEventListener("input", showChosen);
  by("go").disabled = false; // before this the browser would send the form itself, with the prompt in the address
  showChosen();
}
