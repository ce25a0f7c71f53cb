/** The code on the page about the AI SDK runs as it stands. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";

const TOWN = /^\{ name: 'text', inhabitants: \d+ \}\n$/;
/** What each block says, as far as it matters. */
const SAID = [
  /^\[simulated.*\nreq_\w{26} \d+ 24\n$/s,
  /^\[simulated.*\n 24 tokens\n$/s,
  /^2 requests: .*It is sunny in text\.\n$/s,
  TOWN,
  TOWN,
  /^AI_APICallError 404 model_not_found false\n$/,
  /^1 request\n$/,
];

const { PAGE, BASE_URL, API_KEY, PATH } = process.env;
const blocks = [...readFileSync(PAGE, "utf8").matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);

test("every block of the page runs and says what it should", async () => {
  assert.equal(blocks.length, SAID.length);
  const said = await Promise.all(blocks.map(outputOf));
  said.forEach((output, position) => assert.match(output, SAID[position], blocks[position]));
});

/** What a program says that knows nothing but two variables; fails when it fails. */
async function outputOf(code) {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code], {
    env: { BASE_URL, API_KEY, PATH },
    timeout: 60_000,
  });
  return stdout;
}
