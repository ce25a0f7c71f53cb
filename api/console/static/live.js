"use strict";
// Keeps what runs up to date: asks for the page again, and puts the parts marked `data-live` in the place of the old ones.
// It ends when nothing on the page has `data-runs`, and waits while the page is hidden. The server has escaped the page, and
// what is parsed here never runs.
const EVERY_MS = 2000;
let tag = "";

const runs = () => document.querySelector("[data-runs]");
const shown = () => new Promise((go) => {
  if (document.hidden) document.addEventListener("visibilitychange", go, { once: true });
  else go();
});

function put(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
    const streams = part?.querySelector("[data-stream]") && old.querySelector("[data-stream]");
    if (!part || streams || part.isEqualNode(old)) continue;
    const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old.replaceWith(part);
    if (focused) part.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  }
}

async function live() {
  while (runs()) {
    await new Promise((go) => setTimeout(go, EVERY_MS));
    await shown();
    const reply = await fetch(location.href, { headers: { "If-None-Match": tag }, redirect: "manual" }).catch(() => null);
    if (!reply || reply.status === 304 || reply.status >= 429) continue;
    if (!reply.ok) return location.reload(); // the session has ended, or the thing is not there any more
    tag = reply.headers.get("ETag") ?? "";
    put(new DOMParser().parseFromString(await reply.text(), "text/html"));
  }
}

// The text of a request that runs comes as a stream; when that has ended the page has all of it.
function follow(out) {
  const source = new EventSource(out.dataset.stream);
  source.addEventListener("chunk", (event) => out.append(JSON.parse(event.data).text));
  for (const end of ["done", "error"]) source.addEventListener(end, () => source.close());
}

const out = document.querySelector("[data-stream]");
if (out) follow(out);
live();
