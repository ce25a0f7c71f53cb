/** What the AI SDK throws, and how often it asks: our status decides, and `x-should-retry` where it is listened to. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { APICallError, generateText, streamText, wrapLanguageModel } from "ai";

import { all, counted, PROVIDERS, told } from "./service.mjs";

/** As on the page. */
const obedient = { wrapGenerate: ({ doGenerate }) => Promise.resolve(doGenerate()).catch(obey) };
const { POOR_KEY, SLOW_KEY } = process.env;

for (const [name, provider] of Object.entries(PROVIDERS)) {
  /** Asks and gives the error, and how many requests were made. */
  async function refused(ask, settings, model) {
    const { options, sent } = counted(settings);
    const error = await failure(() => generateText({ model: provider(options, model), prompt: told(), ...ask }));
    assert.ok(APICallError.isInstance(error), String(error));
    return { error, requests: sent.length };
  }

  describe(name, { concurrency: true }, () => {
    test("a wrong key is a 401, asked once", async () => {
      const { error, requests } = await refused({}, { apiKey: "rml_wrong" });
      assert.deepEqual(summary(error), [401, "invalid_api_key", false]);
      assert.equal(requests, 1);
    });

    test("missing credit is a 402, asked once, that says what is needed", async () => {
      const { error, requests } = await refused({}, { apiKey: POOR_KEY });
      assert.deepEqual(summary(error), [402, "insufficient_credit", false]);
      assert.match(error.message, /credit/i);
      assert.match(error.responseBody, /"available_usd":"0"/);
      assert.equal(requests, 1);
    });

    test("a model that is not there is a 404, asked once", async () => {
      const { error, requests } = await refused({}, {}, "no-such-model");
      assert.deepEqual(summary(error), [404, "model_not_found", false]);
      assert.equal(requests, 1);
    });

    test("what cannot be honoured is a 400, asked once, that names it", async () => {
      const { error, requests } = await refused({ maxOutputTokens: 3_000_000_000 });
      assert.deepEqual(summary(error), [400, "invalid_request", false]);
      assert.match(error.message, /max_(completion_|output_)?tokens/);
      assert.equal(requests, 1);
    });

    test("beyond the rate it is a 429 that may be asked again, and says when", async () => {
      await failure(() => generateText({ model: provider({ apiKey: SLOW_KEY }), prompt: told(), maxRetries: 0 }));
      const { error } = await refused({ maxRetries: 0 }, { apiKey: SLOW_KEY });
      assert.deepEqual(summary(error), [429, "rate_limited", true]);
      assert.ok(Number(error.responseHeaders["retry-after-ms"]) > 0);
    });

    test("a vendor's failure is asked again", async () => {
      const { options, sent } = counted();
      const prompt = told({ status: 500, times: 1, key: `again-${name}-${process.pid}`, tokens: 5 });
      const answer = await generateText({ model: provider(options), prompt });
      assert.equal(answer.usage.outputTokens, 5);
      assert.equal(sent.length, 2);
    });

    test("an SDK that listens to x-should-retry asks once where more is no use", async () => {
      const { options, sent } = counted();
      const model = wrapLanguageModel({ model: provider(options), middleware: obedient });
      const error = await failure(() => generateText({ model, prompt: told({ status: 400 }) }));
      assert.deepEqual(summary(error), [502, "provider_rejected", false]);
      assert.equal(sent.length, 1);
    });

    test("a stream is refused like an answer", async () => {
      const stream = streamText({ model: provider({ apiKey: POOR_KEY }), prompt: told(), onError: () => {} });
      const { error } = (await all(stream.fullStream)).find((part) => part.type === "error");
      assert.deepEqual(summary(error), [402, "insufficient_credit", false]);
    });

    test("a failure on the way ends the stream with an error, after what came before it", async () => {
      const prompt = told({ tokens: 20, fault: "cut", after: 5, pace_ms: 1 });
      const stream = streamText({ model: provider(), prompt, onError: () => {} });
      const parts = await all(stream.fullStream);
      const text = parts.filter((part) => part.type === "text-delta").map((part) => part.text).join("");
      assert.match(text, /^\[simulated/);
      const [{ error }] = parts.filter((part) => part.type === "error");
      assert.match(JSON.stringify(error) + error.message, /vendor/);
    });
  });
}

async function failure(ask) {
  try {
    await ask();
  } catch (error) {
    return error;
  }
}

function obey(error) {
  if (APICallError.isInstance(error)) error.isRetryable = error.responseHeaders?.["x-should-retry"] === "true";
  throw error;
}

/** Status, our code and whether the SDK thinks that asking again may help. */
function summary(error) {
  const body = JSON.parse(error.responseBody).error;
  return [error.statusCode, body.code ?? body.details.error_code, error.isRetryable];
}
