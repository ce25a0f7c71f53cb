/** What the AI SDK gets: texts, streams, tool calls and objects, through each of its providers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { generateObject, generateText, jsonSchema, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

import { all, known, PROVIDERS, told } from "./service.mjs";

const TOWN = z.object({ name: z.string(), inhabitants: z.number().int() });
const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `It is sunny in ${city}.`,
});

for (const [name, provider] of Object.entries(PROVIDERS)) {
  const model = provider();

  describe(name, { concurrency: true }, () => {
    test("a text is the model's, byte for byte, with its usage", async () => {
      const answer = await generateText({ model, prompt: known.prompt });
      assert.equal(answer.text, known.answer);
      assert.equal(answer.finishReason, "stop");
      assert.deepEqual(usageOf(answer), usageExpected());
      assert.match(answer.response.id, /^req_/);
      assert.equal(answer.response.headers["x-request-id"], answer.response.id);
      assert.equal(answer.response.modelId, "openai-gpt-4o-mini");
    });

    test("a stream is the model's text, byte for byte, with its usage", async () => {
      const stream = streamText({ model, prompt: known.prompt });
      const pieces = await all(stream.textStream);
      assert.equal(pieces.join(""), known.answer);
      assert.ok(pieces.length > 1);
      assert.equal(await stream.finishReason, "stop");
      assert.deepEqual(usageOf({ usage: await stream.usage }), usageExpected());
      assert.match((await stream.response).id, /^req_/);
    });

    test("system prompt, history and settings reach the model", async () => {
      const history = [
        { role: "user", content: "Hello!" },
        { role: "assistant", content: [{ type: "text", text: "Good day." }] },
        { role: "user", content: [{ type: "text", text: told({ tokens: 30 }) }] },
      ];
      const settings = { temperature: 0.5, maxOutputTokens: 8 };
      const answer = await generateText({ model, system: "Be kind.", messages: history, ...settings });
      assert.equal(answer.finishReason, "length");
      assert.equal(answer.usage.outputTokens, 8);
      const stopped = await generateText({ model, prompt: told({ tokens: 30 }), stopSequences: [" made"] });
      assert.ok(stopped.text.endsWith("This text was"));
    });

    test("an image is taken", async () => {
      const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
      const content = [
        { type: "text", text: told({ tokens: 3 }) },
        { type: "file", data: Buffer.from(pixel, "base64"), mediaType: "image/png" },
      ];
      const answer = await generateText({ model, messages: [{ role: "user", content }] });
      assert.equal(answer.usage.outputTokens, 3);
      assert.ok(answer.usage.inputTokens > 85);
    });

    test("a tool is called, and its result answered", async () => {
      const answer = await generateText({
        model,
        prompt: told({ preface: 3 }),
        tools: { weather },
        stopWhen: stepCountIs(3),
      });
      assert.deepEqual(answer.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
      assert.deepEqual(answer.steps[0].toolCalls.map((call) => call.input), [{ city: "text" }]);
      assert.match(answer.text, /The tool said: It is sunny in text\.$/);
    });

    test("tools are called in a stream, and their results answered", async () => {
      const stream = streamText({
        model,
        prompt: told({ calls: 2, preface: 3, pace_ms: 1 }),
        tools: { weather },
        stopWhen: stepCountIs(3),
      });
      const parts = await all(stream.fullStream);
      const types = parts.map((part) => part.type);
      assert.ok(!types.includes("error"), JSON.stringify(parts.filter((part) => part.type === "error")));
      assert.equal(types.filter((type) => type === "tool-result").length, 2);
      assert.ok(types.includes("tool-input-delta"));
      assert.match(await stream.text, /The tool said: It is sunny in text\.$/);
    });

    test("a tool's failure is told to the model", async () => {
      const broken = tool({
        inputSchema: jsonSchema({ type: "object", properties: {} }),
        execute: async () => {
          throw new Error("no network there");
        },
      });
      const answer = await generateText({ model, prompt: told(), tools: { broken }, stopWhen: stepCountIs(2) });
      assert.match(answer.text, /no network there/);
    });

    test("a tool can be demanded, named and ruled out", async () => {
      const other = tool({ inputSchema: jsonSchema({ type: "object", properties: {} }) });
      const ask = { model, prompt: told(), tools: { weather, other } };
      const called = async (toolChoice) =>
        (await generateText({ ...ask, toolChoice })).toolCalls.map((call) => call.toolName);
      assert.deepEqual(await called("required"), ["weather"]);
      assert.deepEqual(await called({ type: "tool", toolName: "other" }), ["other"]);
      assert.deepEqual(await called("none"), []);
    });

    test("a talk with tools goes on with the messages that the SDK kept", async () => {
      const ask = { model, tools: { weather }, stopWhen: stepCountIs(2) };
      const question = { role: "user", content: told({ preface: 2 }) };
      const first = await generateText({ ...ask, messages: [question] });
      const messages = [question, ...first.response.messages, { role: "user", content: told({ tokens: 4, calls: 0 }) }];
      assert.equal((await generateText({ ...ask, messages })).usage.outputTokens, 4);
    });

    test("an object follows its schema", async () => {
      const { object } = await generateObject({ model, schema: TOWN, prompt: told() });
      assert.deepEqual(TOWN.parse(object), object);
      const { output } = await generateText({ model, output: Output.object({ schema: TOWN }), prompt: told() });
      assert.deepEqual(TOWN.parse(output), output);
    });

    test("models of other vendors answer and call tools", async () => {
      for (const name of ["anthropic-claude-3-5-sonnet-v2", "google-gemini-2.0-flash", "deepseek-chat"]) {
        const ask = { model: provider({}, name), prompt: told(), maxOutputTokens: 100 };
        const answer = await generateText({ ...ask, tools: { weather }, stopWhen: stepCountIs(2) });
        assert.match(answer.text, /It is sunny in text\.$/, name);
      }
    });

    test("an object comes in a stream", async () => {
      const stream = streamObject({ model, schema: TOWN, prompt: told({ pace_ms: 1 }) });
      const object = (await all(stream.partialObjectStream)).at(-1);
      assert.deepEqual(TOWN.parse(object), object);
      assert.deepEqual(await stream.object, object);
    });

    test("a reader may leave", async () => {
      const leaving = new AbortController();
      const stream = streamText({ model, prompt: told({ pace_ms: 5, tokens: 10_000 }), abortSignal: leaving.signal });
      const types = [];
      for await (const part of stream.fullStream) {
        types.push(part.type);
        if (part.type === "text-delta") leaving.abort();
      }
      assert.equal(types.at(-1), "abort");
    });
  });
}

test("a model without schemas gives an object through the anthropic provider, which makes a tool of the schema", async () => {
  const model = PROVIDERS.anthropic({}, "anthropic-claude-3-5-sonnet-v2");
  const prompt = told({ calls: 2 });
  const { output } = await generateText({ model, output: Output.object({ schema: TOWN }), prompt });
  assert.deepEqual(TOWN.parse(output), output);
});

function usageOf({ usage }) {
  const { inputTokens, outputTokens, inputTokenDetails } = usage;
  return { inputTokens, outputTokens, cached: inputTokenDetails.cacheReadTokens };
}

function usageExpected() {
  return { inputTokens: known.inputTokens, outputTokens: known.tokens, cached: 2 };
}
