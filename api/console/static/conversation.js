"use strict";
// A conversation with one model: its request, its stream, its answer. What a model says only ever becomes the text of a node.
const CSRF = document.getElementById("ask")?.dataset.csrf;
const running = new Set();
const by = (id) => document.getElementById(id);

function node(name, classes, text = "") {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  return made;
}

// One model with its own conversation, because each has its own answers. `wanted()` gives the instructions and the options as the
// form has them now, `changed()` is told when a request begins or ends.
class Conversation {
  constructor(section, { wanted, changed }) {
    Object.assign(this, { section, wanted, changed });
    this.turns = section.querySelector(".turns");
    this.told = section.querySelector(".figures-line");
    this.messages = [];
  }

  get model() {
    return this.section.querySelector(".model").value;
  }

  get answered() {
    return this.messages.at(-1)?.role === "assistant";
  }

  body(next) {
    const { instructions, ...options } = this.wanted();
    const messages = [...(instructions ? [{ role: "system", content: instructions }] : []), ...this.messages, ...(next ? [next] : [])];
    if (!messages.length) messages.push({ role: "user", content: "" });
    return { model: this.model, messages, ...options, stream: true, stream_options: { include_usage: true } };
  }

  // The request as a program asks it: with the next message, or without one as it was asked last.
  again(next) {
    const body = this.body(next);
    if (!next && this.answered) body.messages.pop();
    return body;
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
    for (const message of messages) this.restore(message);
  }

  restore(message) {
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
    this.changed();
    try {
      const reply = await fetch("api/chat", {
        method: "POST", signal: run.abort.signal, body: JSON.stringify(this.body()),
        headers: { "Content-Type": "application/json", Accept: "text/event-stream", "x-csrf-token": CSRF },
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
      this.changed();
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
  const body = new URLSearchParams({ csrf: CSRF });
  return fetch(`requests/${id}/cancel`, { method: "POST", body, redirect: "manual" });
}

