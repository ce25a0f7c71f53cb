"use strict";
// The form: up to three models answer the same messages beside each other.
const form = document.getElementById("ask");
const EXAMPLE = [{ name: "get_weather", description: "The weather of a city now.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } }];
let language = "curl";

function say(text) {
  by("wrong").textContent = text;
  by("wrong").hidden = !text;
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

function wanted() {
  return {
    instructions: form.elements.system.value.trim(),
    max_tokens: number("max_tokens"), temperature: number("temperature"),
    reasoning_effort: form.elements.reasoning_effort.value || undefined, tools: tools(),
    include_reasoning: form.elements.thoughts.checked || undefined,
  };
}

const columns = [...document.querySelectorAll(".column")].map((section) => new Conversation(section, { wanted, changed: buttons }));
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
  const waiting = chosen().some((column) => column.messages.length && !column.answered);
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

function showChosen() {
  for (const { section } of columns) section.querySelector(".facts-line").textContent = section.querySelector(".model").selectedOptions[0].dataset.told ?? "";
  try {
    by("code").textContent = snippet(language, columns[0].again(written()), form.dataset.base);
  } catch (error) {
    by("code").textContent = `The tools are no JSON: ${error.message}.`;
  }
}

if (form) {
  for (const { section } of columns.slice(1)) { // the models are in the page only once
    section.querySelector(".model").append(...[...by("model0").children].map((group) => group.cloneNode(true)));
    section.querySelector(".model").value = "";
  }
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
